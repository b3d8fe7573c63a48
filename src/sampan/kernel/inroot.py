"""Resolving paths inside a root directory as if it were ``/``, without ever leaving it.

For read-only trees of others (mounted images): every name is looked up from the descriptor of its
directory without following links, and links are followed by us, absolute ones from the root, ``..``
never above it (path_resolution(7), chroot semantics). On the start path.
"""

import os
import stat
from typing import NamedTuple

_MAXIMUM_LINKS = 40
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Resolved(NamedTuple):
    """Where a path leads.

    Attributes:
        path: absolute, inside the root, without links; of names that do not exist, what they would
            be called.
        found: what is there; None when it does not exist.
    """

    path: str
    found: os.stat_result | None


def resolve_in_root(root: str | int, path: str) -> Resolved:
    """Follow ``path`` inside the directory ``root``, a path or a descriptor.

    Raises:
        OSError: ELOOP, too many links; or the tree cannot be read.
    """
    pending = path.split("/")[::-1]
    real: list[str] = []
    opened = [os.open(root, _DIRECTORY) if isinstance(root, str) else os.dup(root)]
    links = 0
    found: os.stat_result | None = os.fstat(opened[0])
    try:
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if real:
                    real.pop()
                    if len(opened) > len(real) + 1:
                        os.close(opened.pop())
                found = os.fstat(opened[-1]) if len(opened) == len(real) + 1 else None
                continue
            here = opened[-1] if len(opened) == len(real) + 1 else -1
            found = _look(here, name)
            if found is not None and stat.S_ISLNK(found.st_mode):
                links += 1
                if links > _MAXIMUM_LINKS:
                    raise OSError(40, os.strerror(40), path)
                target = os.readlink(name, dir_fd=here)
                pending += target.split("/")[::-1]
                if target.startswith("/"):
                    real.clear()
                    while len(opened) > 1:
                        os.close(opened.pop())
                found = os.fstat(opened[-1])
                continue
            real.append(name)
            if found is not None and stat.S_ISDIR(found.st_mode):
                opened.append(os.open(name, _DIRECTORY, dir_fd=here))
        return Resolved("/" + "/".join(real), found)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _look(directory: int, name: str) -> os.stat_result | None:
    if directory < 0:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
