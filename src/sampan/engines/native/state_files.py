"""Small files of the state directory: replaced whole, deleted with what they stand in.

Volatile, so nothing is synced. On the start path: imports nothing but ``os``.
"""

import os


def read_link(path: str) -> str:
    """Target of a link; empty when there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def list_names(directory: str) -> list[str]:
    """Names in a directory; empty when there is none."""
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def write_whole(directory: str, name: str, text: str) -> None:
    """Replace a file so that readers see the old or the new one."""
    temporary = f"{directory}/.tmp-{os.getpid()}-{name}"
    with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
    os.rename(temporary, f"{directory}/{name}")


def delete_tree(directory: str) -> None:
    """Delete a directory with all that is in it, its record first. Idempotent."""
    try:
        names = sorted(os.listdir(directory), key=lambda name: name != "record.json")
    except FileNotFoundError:
        return
    for name in names:
        path = f"{directory}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            delete_tree(path)
        else:
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return
