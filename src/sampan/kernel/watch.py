"""Waiting until a file is written to or replaced: inotify(7)."""

import ctypes
import os

_IN_MODIFY = 2
_IN_ATTRIB = 4  # also sent when another file takes the name
_IN_NONBLOCK = 0o4000
_IN_CLOEXEC = 0o2000000
_EVERY = _IN_MODIFY | _IN_ATTRIB
_EVENTS = 1 << 12

_libc = ctypes.CDLL(None, use_errno=True)


class FileWatch:
    """Becomes readable (``fileno``) when the file is written to or replaced, until ``drain`` is called."""

    def __init__(self, path: str) -> None:
        """Begin to watch.

        Raises:
            OSError: no such file, or the user's limit of watches is reached (ENOSPC, EMFILE).
        """
        self._descriptor: int = _libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        _check(self._descriptor, path)
        _check(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), _EVERY), path)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._descriptor

    def drain(self) -> None:
        """Forget what was seen so far; to be called before the file is read."""
        try:
            while os.read(self._descriptor, _EVENTS):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


def _check(result: int, path: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
