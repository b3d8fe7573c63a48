"""Advisory locks between processes and, where the file system supports it, between nodes.

``fcntl`` record locks rather than ``flock``: they work on NFS and Lustre too. Open file description
locks where the kernel has them: a lock then belongs to the descriptor, so that another close of the
same file in this process does not drop it, threads exclude each other, and children that inherit
the descriptor keep it. It is released when the last holder dies in whatever way.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator

_POLL_S = 0.1
_NOTE_BYTES = 64


@contextlib.contextmanager
def locked(
    path: str | os.PathLike[str],
    *,
    shared: bool = False,
    waiting: Callable[[bytes], None] | None = None,
) -> Iterator[int]:
    """Hold a lock on ``path`` (created when absent, never deleted), waiting for it if needed.

    Args:
        path: of the file.
        shared: let other shared holders in.
        waiting: called ten times a second while another process holds the lock, with the note
            that the holder has left (``leave_note``).

    Returns:
        The descriptor that holds the lock.

    Raises:
        OSError: the file cannot be opened, or the file system has no locks (ENOLCK).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        if waiting is None:
            _lock(descriptor, kind, wait=True)
        else:
            while not _try_lock(descriptor, kind):
                waiting(os.pread(descriptor, _NOTE_BYTES, 0).rstrip(b"\0 "))
                time.sleep(_POLL_S)
            leave_note(descriptor, b"")
        yield descriptor
    finally:
        os.close(descriptor)


def leave_note(descriptor: int, text: bytes) -> None:
    """Tell those who wait for a lock that we hold something, in at most 64 bytes."""
    with contextlib.suppress(OSError):
        # One write of one length: who reads meanwhile sees the old or the new.
        os.pwrite(descriptor, text[:_NOTE_BYTES].ljust(_NOTE_BYTES), 0)


def hold_shared(path: str) -> int:
    """Lock an existing file against ``is_held``; the lock lasts while the descriptor is open.

    Returns:
        The descriptor, closed on exec; the caller closes it or leaves it to the process's end.

    Raises:
        OSError: the file cannot be read, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(descriptor, fcntl.F_RDLCK, wait=True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_held(path: str) -> bool:
    """Whether some process holds ``path`` at this moment.

    Raises:
        OSError: the file cannot be opened for writing, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not _try_lock(descriptor, fcntl.F_WRLCK)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        _lock(descriptor, kind, wait=False)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _lock(descriptor: int, kind: int, *, wait: bool) -> None:
    request = struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        operation = fcntl.LOCK_SH if kind == fcntl.F_RDLCK else fcntl.LOCK_EX
        fcntl.lockf(descriptor, operation | (0 if wait else fcntl.LOCK_NB))
