"""The user's cache directory and small files kept in it (XDG base directories).

What is kept can be made again at any time, so every failure to keep or to read it is silent; but a
file that somebody else could have written is not read.
"""

import contextlib
import os

_OTHERS_MAY_WRITE = 0o022


def cache_directory(part: str) -> str:
    """``$XDG_CACHE_HOME/sampan/PART``, else below ``~/.cache``; it need not exist."""
    parent = os.environ.get("XDG_CACHE_HOME", "")
    if not parent.startswith("/"):
        parent = f"{os.path.expanduser('~')}/.cache"
    return f"{parent}/sampan/{part}"


def read_kept(path: str) -> bytes:
    """Content of a kept file; empty when there is none that we can trust."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_MAY_WRITE:
            return b""
        return os.read(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def keep(directory: str, name: str, content: bytes) -> None:
    """Write a file, whole or not at all."""
    temporary = f"{directory}/.tmp-{os.getpid()}-{os.urandom(4).hex()}"
    with contextlib.suppress(OSError):
        os.makedirs(directory, 0o700, exist_ok=True)
        with open(temporary, "xb") as stream:
            stream.write(content)
        os.rename(temporary, f"{directory}/{name}")
