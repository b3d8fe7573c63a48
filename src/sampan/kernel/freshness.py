"""Whether what was computed of a host still holds: marks of files, nodes and directories, compared as text.

Who computes lists what it looked at; who uses the result later takes the marks again, in well under a
millisecond. Nothing but ``os`` is imported, since this stands on the start path of other engines.
"""

import os

CONTENT, IDENTITY, NODES, TREE = "content", "identity", "nodes", "tree"
"""Kinds of a watch: ``[kind, path]``, and for NODES the prefixes of names after them."""
MAXIMUM_CONTENT = 64 << 10
_DEPTH = 5
_FOLLOWED = ("gpu", "mig", "gi", "ci")
_NO_SIGN = "-"


def take_marks(watches: list[list[str]]) -> str:
    """The text that stays equal as long as nothing that is watched has changed.

    Args:
        watches: CONTENT: a small file's text. IDENTITY: which file it is, its size and when it was
            written, the link itself and not where it leads. NODES: name, number, mode and owner of
            the directory's entries with one of the prefixes. TREE: directories below
            ``/proc/driver/nvidia/capabilities``, and which ones they are.
    """
    lines = [str(os.geteuid())]
    for kind, path, *prefixes in watches:
        if kind == CONTENT:
            lines.append(_read(path))
        elif kind == IDENTITY:
            lines.append(_identify(path))
        elif kind == NODES:
            lines += _list_nodes(path, tuple(prefixes))
        elif kind == TREE:
            lines += _list_tree(path, _DEPTH)
    return "\n".join(lines)


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return _NO_SIGN
    try:
        return os.read(descriptor, MAXIMUM_CONTENT).decode("utf-8", "replace")
    except OSError:
        return _NO_SIGN
    finally:
        os.close(descriptor)


def _identify(path: str) -> str:
    try:
        status = os.lstat(path)
    except OSError:
        return _NO_SIGN
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _list_nodes(directory: str, prefixes: tuple[str, ...]) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.startswith(prefixes))
    except OSError:
        return [_NO_SIGN]
    lines = []
    for name in names:
        try:
            status = os.lstat(f"{directory}/{name}")
        except OSError:
            continue
        lines.append(f"{name} {status.st_rdev} {status.st_mode} {status.st_uid} {status.st_gid}")
    return lines


def _list_tree(directory: str, depth: int) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.startswith(_FOLLOWED))
    except OSError:
        return []
    lines = []
    for name in names:
        path = f"{directory}/{name}"
        # An instance that follows another of its number is a new entry of procfs.
        lines.append(f"{name} {_identify(path) if name.startswith('ci') else ''}")
        if depth:
            lines += _list_tree(path, depth - 1)
    return lines
