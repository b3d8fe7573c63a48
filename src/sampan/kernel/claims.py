"""Names that one process of the host holds at a time, for agreements between users.

A claim is a bound socket in the abstract namespace (unix(7)). The kernel gives a name to one socket
only; there is no file that somebody else could create first with other rights, replace by a link or
delete, and no directory that all users must be able to write to. A claim ends when its last
descriptor is closed, in whatever way its holders die. It is seen by all processes that share the
network namespace. Its owner is the kernel's word, not the holder's.
"""

import errno
import os
import re
import socket
import struct
from typing import NamedTuple

_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_UDIAG_SHOW_NAME, _UDIAG_SHOW_UID = 0x01, 0x40
_UNIX_DIAG_NAME, _UNIX_DIAG_UID = 0, 7
_NETLINK_SOCK_DIAG = 4
_ANSWER = 1 << 16
_PATIENCE_S = 5.0
LONGEST_NAME = 107
"""Bytes: ``sun_path`` less the zero that marks an abstract name."""


class Claim(NamedTuple):
    """A name that is held; ``uid`` is the owner's, -1 where the kernel does not say."""

    name: str
    uid: int


def claim_name(name: str) -> socket.socket | None:
    """Take a name; None when somebody has it. Closing the socket gives it back.

    The socket is closed on exec and kept by forked children.

    Raises:
        OSError: the name is too long, or abstract sockets are forbidden here.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(b"\0" + name.encode())
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return made


def list_claims(prefix: str) -> tuple[Claim, ...]:
    """The names that are held and begin with ``prefix``, sorted.

    The kernel is asked through sock_diag(7), which tells the owners; where it has none, through
    ``/proc/net/unix``.

    Raises:
        OSError: neither can be read.
    """
    try:
        names = _ask_sock_diag()
    except OSError:
        names = _read_proc()
    found = {
        name.decode("utf-8", "backslashreplace"): uid
        for name, uid in names
        if name.startswith(prefix.encode())
    }
    return tuple(Claim(name, uid) for name, uid in sorted(found.items()))


def _ask_sock_diag() -> list[tuple[bytes, int]]:
    show = _UDIAG_SHOW_NAME | _UDIAG_SHOW_UID
    body = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, show, 0, 0)
    header = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
    found: list[tuple[bytes, int]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE_S)
        kernel.send(header + body)
        while True:
            answer = kernel.recv(_ANSWER)
            place = 0
            while place + 16 <= len(answer):
                length, kind = struct.unpack_from("=IH", answer, place)
                if kind == _NLMSG_DONE:
                    return found
                if kind == _NLMSG_ERROR or length < 16:
                    code = struct.unpack_from("=i", answer, place + 16)[0] if length >= 20 else 0
                    raise OSError(-code or errno.EIO, os.strerror(-code or errno.EIO))
                named = _read_attributes(answer[place + 16 + 16 : place + length])
                if named is not None:
                    found.append(named)
                place += (length + 3) & ~3


def _read_attributes(data: bytes) -> tuple[bytes, int] | None:
    """Abstract name and owner of one socket; None when its name is a path or it has none."""
    name, uid = b"", -1
    place = 0
    while place + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, place)
        if length < 4:
            break
        value = data[place + 4 : place + length]
        if kind == _UNIX_DIAG_NAME and value[:1] == b"\0":
            name = value[1:]
        elif kind == _UNIX_DIAG_UID and len(value) == 4:
            (uid,) = struct.unpack("=I", value)
        place += (length + 3) & ~3
    return (name, uid) if name else None


def _read_proc() -> list[tuple[bytes, int]]:
    with open("/proc/net/unix", "rb") as stream:
        text = stream.read()
    return [(name, -1) for name in re.findall(rb"(?m)^\w+: .{30,60} @(\S+)$", text)]
