"""The container's empty writable layer: what Sampan puts into it before the overlay is mounted.

Links, the loader's cache, /etc/hosts and the like are written here, never through the mounted image
(design.md, principle 2): every directory is opened one name at a time without following links, so
an image that has a link where a directory is expected gets a directory of its own in the upper
layer and leads nowhere.
"""

import contextlib
import os
import stat
from collections.abc import Sequence
from typing import Self

from sampan.kernel.inroot import resolve_in_root
from sampan.model.plan import PlannedFile, PlannedLink

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UpperLayer:
    """Writes below ``upper``, taking the attributes of directories from ``lower``.

    Both are directories; ``lower`` is the mounted image. To be used as a context manager, since it
    keeps descriptors of the directories it has been in.
    """

    def __init__(self, lower: str, upper: str) -> None:
        self._lower = lower
        lower_root = os.open(lower, _DIRECTORY)
        upper_root = os.open(upper, _DIRECTORY)
        self._opened: dict[str, tuple[int, int]] = {"": (upper_root, lower_root)}
        # The root of an overlay has the upper root's attributes.
        _copy_attributes(os.fstat(lower_root), upper_root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pair in self._opened.values():
            for descriptor in pair:
                if descriptor >= 0:
                    os.close(descriptor)
        self._opened.clear()

    def write_file(self, file: PlannedFile) -> None:
        """Write a regular file; what the image or an earlier call had of that name is covered."""
        parent, name = self._place(file.path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            view = memoryview(file.content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, file.mode)
        finally:
            os.close(descriptor)

    def write_link(self, link: PlannedLink) -> None:
        """Make a symbolic link; what the image or an earlier call had of that name is covered."""
        parent, name = self._place(link.path)
        os.symlink(link.target, name, dir_fd=parent)

    def make_directory(self, path: str, uid: int = 0, gid: int = 0) -> None:
        """Make a directory and its parents where the image has none, following the image's links.

        Args:
            path: in the container.
            uid: owner of what is made. An id that the container has no mapping for is left out.
            gid: its group.
        """
        real, found = resolve_in_root(self._lower, path)
        if found is None:
            self._enter(_parts(real), (uid, gid))

    def _place(self, path: str) -> tuple[int, str]:
        parts = _parts(path)
        parent = self._enter(parts[:-1], (0, 0))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=parent)
        return parent, parts[-1]

    def _enter(self, parts: Sequence[str], owner: tuple[int, int]) -> int:
        path = ""
        upper, lower = self._opened[""]
        for part in parts:
            path = f"{path}/{part}"
            if path not in self._opened:
                below = _open_directory(lower, part)
                self._opened[path] = (_make_directory(upper, part, below, owner), below)
            upper, lower = self._opened[path]
        return upper


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ValueError(f"not a plain absolute path: {path!r}")
    return parts


def _open_directory(parent: int, name: str) -> int:
    """A descriptor of the image's directory, or -1 where it has none (a link is none)."""
    if parent < 0:
        return -1
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError:
        return -1


def _make_directory(parent: int, name: str, lower: int, owner: tuple[int, int]) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    made = os.open(name, _DIRECTORY, dir_fd=parent)
    if lower >= 0:
        _copy_attributes(os.fstat(lower), made)
    elif owner != (0, 0):
        _own(made, *owner)
    return made


def _copy_attributes(source: os.stat_result, target: int) -> None:
    _own(target, source.st_uid, source.st_gid)
    os.fchmod(target, stat.S_IMODE(source.st_mode))


def _own(descriptor: int, uid: int, gid: int) -> None:
    if (uid, gid) == (0, 0):
        return
    # An id without a mapping in the container's user namespace: it stays root's.
    with contextlib.suppress(OSError):
        os.fchown(descriptor, uid, gid)
