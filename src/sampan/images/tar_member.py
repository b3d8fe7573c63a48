"""What one tar header, with the extended headers before it, says of its member.

Pure: no stream is read here. Fields and records are ``tar_headers.py``'s, names ``tar_names.py``'s.
Where the formats leave a choice, GNU tar's behaviour decides: a file whose name ends in ``/`` is a
directory, links and nodes have no content.
"""

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from sampan.images.limits import Limits
from sampan.images.tar_headers import (
    FIELDS,
    HeaderError,
    parse_decimal,
    parse_number,
    parse_time,
)
from sampan.images.tar_names import check_symlink, holds_whiteout, normalise, read_whiteout
from sampan.model.layer import EntryKind

Records = dict[bytes, bytes]
"""The extended header records that hold for one member."""

_ID_LIMIT = 1 << 32
_TIME_LIMIT = (1 << 63) - 1
_MAJOR_LIMIT = 1 << 12
_MINOR_LIMIT = 1 << 20
_XATTR = b"SCHILY.xattr."
_XATTR_ENCODED = b"LIBARCHIVE.xattr."
# An image must not speak to the overlay file system that is mounted above it.
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")

_KINDS = {
    b"0": EntryKind.FILE,
    b"\0": EntryKind.FILE,
    b"7": EntryKind.FILE,
    b"S": EntryKind.FILE,
    b"1": EntryKind.HARD_LINK,
    b"2": EntryKind.SYMLINK,
    b"3": EntryKind.CHARACTER_DEVICE,
    b"4": EntryKind.BLOCK_DEVICE,
    b"5": EntryKind.DIRECTORY,
    b"D": EntryKind.DIRECTORY,
    b"6": EntryKind.FIFO,
}
_WITH_PAYLOAD = frozenset((b"0", b"\0", b"7", b"S", b"D"))
_NODES = frozenset((EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE))


class TarMember(NamedTuple):
    """One entry of a tar, as ``model.layer.Entry`` means its fields.

    Attributes:
        size: bytes of a regular file, holes included; else 0.
        segments: (offset, length) of the stored parts of a sparse file, or None.
    """

    path: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    size: int
    segments: tuple[tuple[int, int], ...] | None


class Header(NamedTuple):
    """A header block and what came before it, names and content size already settled.

    Attributes:
        block: the 512 bytes.
        kind: from the type flag alone; the name may still change it.
        name: as written.
        link: as written.
        stored: bytes of content that follow the header.
        pax: records that hold for this member.
    """

    block: bytes
    kind: EntryKind
    name: bytes
    link: bytes
    stored: int
    pax: Records


def join_records(defaults: Records, records: list[tuple[bytes, bytes]]) -> Records:
    """The records of global and own headers; an empty value takes a record back.

    (Except that an extended attribute may well be empty.)
    """
    return {
        key: value
        for key, value in (defaults | dict(records)).items()
        if value or key.startswith(_XATTR)
    }


def member_name(block: bytes, pax: Records, long_name: bytes | None) -> bytes:
    """The member's name as written, from wherever the format in use keeps it."""
    if pax:
        name = pax.get(b"GNU.sparse.name") or pax.get(b"path")
        if name is not None:
            return name
    if long_name is not None:
        return long_name
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:263] == b"ustar\0":
        # star keeps two times behind a shorter prefix
        prefix = block[345:476] if block[508:] == b"tar\0" else block[345:500]
        name = prefix.partition(b"\0")[0] + b"/" + name
    return name


def read_header(block: bytes, name: bytes, long_link: bytes | None, pax: Records) -> Header:
    """Settle kind, link and size of a header block.

    Raises:
        HeaderError: the type is unknown, the size is no number or negative.
    """
    flag = block[156:157]
    kind = _KINDS.get(flag)
    if kind is None:
        raise HeaderError(f"its type {flag!r} is unknown")
    link = block[157:257].partition(b"\0")[0] if long_link is None else long_link
    stored = 0
    if flag in _WITH_PAYLOAD:
        stored = parse_number(block[124:136])
        if b"size" in pax:
            stored = parse_decimal(pax[b"size"], "its size")
        if stored < 0:
            raise HeaderError("its size is negative")
    return Header(block, kind, name, pax.get(b"linkpath", link), stored, pax)


def build_member(
    header: Header,
    size: int,
    segments: tuple[tuple[int, int], ...] | None,
    limits: Limits,
) -> TarMember | None:
    """The member that a header announces, or None for what layers leave out.

    Left out are aufs' own ``.wh..wh.`` names, and the hard link to itself that tar writes when a
    file is given to it twice.

    Args:
        header: as read.
        size: of the file, holes included.
        segments: its sparse map, or None.
        limits: bounds on names and attributes.

    Raises:
        HeaderError: a field is damaged or asks for what no file system could hold.
    """
    _, mode, uid_field, gid_field, _, time_field, *_, major, minor, _ = FIELDS.unpack(header.block)
    uid, gid = parse_number(uid_field), parse_number(gid_field)
    mtime = parse_number(time_field) * 1_000_000_000
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    pax = header.pax
    if pax:
        if b"uid" in pax:
            uid = parse_decimal(pax[b"uid"], "its owner")
        if b"gid" in pax:
            gid = parse_decimal(pax[b"gid"], "its group")
        if b"mtime" in pax:
            mtime = parse_time(pax[b"mtime"])
        xattrs = _read_xattrs(pax, limits)
    if not (0 <= uid < _ID_LIMIT and 0 <= gid < _ID_LIMIT):
        raise HeaderError(f"its owner {uid}:{gid} is beyond 32 bits")
    kind, path = header.kind, normalise(header.name, limits)
    if kind == EntryKind.FILE and header.name.endswith(b"/"):
        kind = EntryKind.DIRECTORY
    link = b""
    device = (0, 0)
    if holds_whiteout(path):
        whiteout = read_whiteout(path)
        if whiteout is None:
            return None
        kind, path = whiteout
    elif kind == EntryKind.SYMLINK:
        link = header.link
        check_symlink(link)
    elif kind == EntryKind.HARD_LINK:
        link = _hard_link_target(header.link, limits)
        if link == path:
            return None
    elif kind in _NODES:
        device = parse_number(major), parse_number(minor)
        if not (0 <= device[0] < _MAJOR_LIMIT and 0 <= device[1] < _MINOR_LIMIT):
            raise HeaderError(f"its device number {device[0]}:{device[1]} is beyond Linux's")
    if not path and kind not in (EntryKind.DIRECTORY, EntryKind.OPAQUE):
        raise HeaderError("the root of the image can only be a directory")
    is_file = kind == EntryKind.FILE
    return TarMember(
        path,
        kind,
        parse_number(mode) & 0o7777,
        uid,
        gid,
        max(-_TIME_LIMIT, min(mtime, _TIME_LIMIT)),
        link,
        device,
        xattrs,
        size if is_file else 0,
        segments if is_file else None,
    )


def _hard_link_target(target: bytes, limits: Limits) -> bytes:
    try:
        path = normalise(target, limits)
    except HeaderError as error:
        raise HeaderError(f"it is a hard link to something of which {error}") from error
    if not path:
        raise HeaderError("it is a hard link to the root of the image")
    return path


def _read_xattrs(pax: Records, limits: Limits) -> tuple[tuple[bytes, bytes], ...]:
    found: Records = {}
    for key, value in pax.items():
        if key.startswith(_XATTR):
            found[key[len(_XATTR) :]] = value
        elif key.startswith(_XATTR_ENCODED):
            name = unquote_to_bytes(key[len(_XATTR_ENCODED) :])
            try:
                decoded = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
            except binascii.Error as error:
                raise HeaderError(f"its attribute {name!r} is no base64") from error
            found.setdefault(name, decoded)
    if not found:
        return ()
    if sum(len(name) + len(value) for name, value in found.items()) > limits.max_xattr_bytes:
        raise HeaderError("its extended attributes are too large", limit="max_xattr_bytes")
    return tuple(sorted(pair for pair in found.items() if not pair[0].startswith(_OVERLAY_XATTRS)))
