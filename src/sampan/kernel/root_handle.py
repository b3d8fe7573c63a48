"""A container's root directory by its descriptor: reading and writing in it without ever leaving it.

For trees that somebody hostile made and may still be changing: every path goes through openat2(2)
with ``RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS``, and what was opened is used by its descriptor, so
there is nothing to swap between a look and the deed. Writing never crosses a mount: what somebody
mounted into the container (a volume, a directory of the host) is not ours to change.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Self

from sampan.kernel.inroot import resolve_in_root
from sampan.kernel.libc import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    clone_mount_writable,
    openat2,
)

IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
ONE_STEP = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_DIRECTORY = os.O_PATH | os.O_DIRECTORY
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class RootHandle:
    """The directory ``path`` as a root; a context manager."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, _DIRECTORY | os.O_CLOEXEC)
        self._writable = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)
        if self._writable >= 0:
            os.close(self._writable)

    def open(self, path: str, flags: int, *, resolve: int = 0) -> int:
        """Open a path of the container.

        Raises:
            OSError: as ``kernel.libc.openat2``.
        """
        return openat2(self.descriptor, path, flags, resolve=IN_ROOT | resolve)

    def is_file(self, path: str) -> bool:
        """Whether the path leads to a regular file."""
        try:
            descriptor = self.open(path, os.O_PATH)
        except OSError:
            return False
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def read_file(self, path: str, limit: int) -> bytes | None:
        """Content of a regular file; None when there is none of that name.

        Raises:
            OSError: it is no regular file (EINVAL), longer than ``limit`` bytes (EFBIG), or
                cannot be read.
        """
        try:
            descriptor = open_regular(self.descriptor, path, IN_ROOT)
        except FileNotFoundError:
            return None
        try:
            return read_descriptor(descriptor, limit, path)
        finally:
            os.close(descriptor)

    def write_file(self, path: str, content: bytes, mode: int) -> bool:
        """Have a regular file of this content at ``path``; whether anything had to be done.

        What had the name, a link too, is replaced in one step; directories are made where they miss.

        Raises:
            OSError: a read-only file system (EROFS), below a mount (EXDEV), a mount itself or a
                directory (EBUSY, EISDIR, ENOTDIR), no room.
        """
        return self._write(path, lambda parent, name: _write_file(parent, name, content, mode))

    def write_link(self, path: str, target: str) -> bool:
        """Have a symbolic link at ``path``; whether anything had to be done.

        Raises:
            OSError: as ``write_file``.
        """
        return self._write(path, lambda parent, name: _write_link(parent, name, target))

    def make_directory(self, path: str) -> int:
        """Open a directory (O_PATH) that is made, with those above it, where it misses.

        Raises:
            OSError: as ``write_file``.
        """
        try:
            return self.open(path, _DIRECTORY, resolve=RESOLVE_NO_XDEV)
        except FileNotFoundError:
            return _make_directories(self.descriptor, path)

    def _write(self, path: str, act: Callable[[int, str], bool]) -> bool:
        try:
            return _act_in(self.descriptor, path, act)
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            refusal = error
        # crun mounts a read-only container's root so before its hooks, runc after them: only the
        # mount says no, not the container's own layer. The container has no way to what we use.
        if self._writable < 0:
            try:
                self._writable = clone_mount_writable(self.descriptor)
            except OSError:
                raise refusal from None
        return _act_in(self._writable, path, act)


def _act_in(root: int, path: str, act: Callable[[int, str], bool]) -> bool:
    """Let ``act`` have the directory of a path, made where it misses, and the last name."""
    directory, _, name = path.rpartition("/")
    if name in ("", ".", "..") or not path.startswith("/") or "\0" in path:
        raise OSError(errno.EINVAL, "not a plain absolute path", path)
    try:
        parent = openat2(root, directory or "/", _DIRECTORY, resolve=IN_ROOT | RESOLVE_NO_XDEV)
    except FileNotFoundError:
        parent = _make_directories(root, directory)
    try:
        _refuse_mount(parent, name, path)
        return act(parent, name)
    finally:
        os.close(parent)


def _make_directories(root: int, path: str) -> int:
    # Where the links lead, then one name at a time without links: who swaps one gets nothing.
    here = os.dup(root)
    for name in resolve_in_root(root, path).path.split("/"):
        if not name:
            continue
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=here)
            inner = openat2(here, name, _DIRECTORY, resolve=ONE_STEP)
        finally:
            os.close(here)
        here = inner
    return here


def _refuse_mount(parent: int, name: str, path: str) -> None:
    """What is mounted at the very place would hide whatever is put there."""
    resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS
    try:
        os.close(openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=resolve))
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "something is mounted there", path) from error
        raise


def _write_file(parent: int, name: str, content: bytes, mode: int) -> bool:
    if _has_content(parent, name, content):
        return False
    temporary = _temporary(parent, name)
    descriptor = os.open(temporary, _CREATE, 0o600, dir_fd=parent)
    try:
        write_descriptor(descriptor, content)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    _put(parent, temporary, name)
    return True


def _write_link(parent: int, name: str, target: str) -> bool:
    with contextlib.suppress(OSError):
        if os.readlink(name, dir_fd=parent) == target:
            return False
    temporary = _temporary(parent, name)
    os.symlink(target, temporary, dir_fd=parent)
    _put(parent, temporary, name)
    return True


def open_regular(directory: int, path: str, resolve: int) -> int:
    """Open a regular file for reading; anything else is looked at, but never opened.

    Opening a device can do something by itself, and an image may hold any.

    Raises:
        OSError: it is no regular file (EINVAL), or as ``kernel.libc.openat2``.
    """
    found = openat2(directory, path, os.O_PATH, resolve=resolve)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.open(f"/proc/self/fd/{found}", _READ)
    finally:
        os.close(found)


def read_descriptor(descriptor: int, limit: int, path: str) -> bytes:
    """Content of an opened regular file.

    Raises:
        OSError: it is none (EINVAL), or longer than ``limit`` bytes (EFBIG).
    """
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    content = read_stream(descriptor, limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"longer than {limit} bytes", path)
    return content


def read_stream(descriptor: int, limit: int) -> bytes:
    """At most ``limit`` bytes, to the end of the file or pipe."""
    pieces = []
    while limit > 0:
        piece = os.read(descriptor, min(limit, 1 << 20))
        if not piece:
            break
        pieces.append(piece)
        limit -= len(piece)
    return b"".join(pieces)


def write_descriptor(descriptor: int, content: bytes) -> None:
    """Write all of ``content``."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _has_content(parent: int, name: str, content: bytes) -> bool:
    try:
        descriptor = open_regular(parent, name, ONE_STEP)
    except OSError:
        return False
    try:
        return read_descriptor(descriptor, len(content), name) == content
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _temporary(parent: int, name: str) -> str:
    # The same name each time: what a killed process left behind is cleared away by the next.
    temporary = f".{name}.sampan"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=parent)
    return temporary


def _put(parent: int, temporary: str, name: str) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
