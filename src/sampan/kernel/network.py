"""Network interfaces of the namespace we are in. On the start path: no ``socket`` module."""

import _socket
import fcntl
import struct

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = "16sh22x"


def raise_loopback() -> None:
    """``ip link set lo up``: a new network namespace has nothing else, and even that is down."""
    # _socket: the socket module costs 5 ms for classes and enums that nobody uses here.
    channel = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = fcntl.ioctl(channel.fileno(), _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        flags = struct.unpack(_IFREQ, request)[1]
        fcntl.ioctl(channel.fileno(), _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))
    finally:
        channel.close()
