"""A message channel between a process and its clone, which also carries open descriptors.

``_socket`` rather than ``socket``: the same class without selectors and enums, 3 ms on the start
path. Messages keep their borders (SOCK_SEQPACKET); the end of the other side reads as empty.
"""

import _socket
import struct

_INTEGER = struct.Struct("=i")
MAXIMUM_MESSAGE = 1 << 16


class Channel:
    """One end. Closed at exec, so that the peer learns of it."""

    def __init__(self, connected: _socket.socket) -> None:
        self._socket = connected

    def send(self, message: bytes, descriptor: int = -1) -> None:
        """Send a message, with an open descriptor when one is given (the caller keeps its own).

        Raises:
            OSError: the peer is gone (EPIPE).
        """
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _INTEGER.pack(descriptor))
        self._socket.sendmsg([message], [rights] if descriptor >= 0 else [], _socket.MSG_NOSIGNAL)

    def receive(self) -> tuple[bytes, int]:
        """Wait for a message; return it and its descriptor (-1: none). Empty = the peer is gone."""
        message, extra, _, _ = self._socket.recvmsg(
            MAXIMUM_MESSAGE, _socket.CMSG_SPACE(_INTEGER.size), _socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, data in extra:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                descriptor: int = _INTEGER.unpack_from(data)[0]
                return message, descriptor
        return message, -1

    def fileno(self) -> int:
        """The descriptor of this end."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def make_channel() -> tuple[Channel, Channel]:
    """Two connected ends, neither of which survives an exec."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return Channel(ours), Channel(theirs)
