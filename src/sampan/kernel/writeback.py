"""Letting the disk begin before somebody waits for it (sync_file_range(2))."""

import contextlib
import ctypes
import functools
from collections.abc import Callable

_SYNC_FILE_RANGE_WRITE = 2


def start_writeback(descriptor: int, offset: int, size: int) -> None:
    """Ask the kernel to write a part of a file to its disk now, and do not wait for it.

    This is no promise of any kind: who needs the bytes to stay calls ``fsync`` afterwards, which has
    less to do then. Where the call does not exist nothing happens.

    Args:
        descriptor: of the file, open for writing.
        offset: where the part begins.
        size: bytes of it.
    """
    with contextlib.suppress(AttributeError):
        _sync_file_range()(descriptor, offset, size, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int]:
    # Not ``libc.py``'s PyDLL: a full queue makes the call wait, and other threads shall run then.
    function = ctypes.CDLL(None, use_errno=True).sync_file_range
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function
