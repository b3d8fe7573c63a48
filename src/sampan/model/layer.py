"""A packed layer: what its tar said of each path, and where its compressed content lies.

The rules are those of the OCI image spec (layer.md: change types, whiteouts) and the numbers those
of squashfs 4.0 (block size words, fragments), so that linking copies them unchanged.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

BLOCK_SIZE = 131072
"""Bytes of one squashfs data block, in every pack and image."""

UNCOMPRESSED = 1 << 24
"""Bit of a block size word that says the block is stored as it is (squashfs 4.0)."""

NO_FRAGMENT = 0xFFFFFFFF


class EntryKind(IntEnum):
    """What a layer entry is. WHITEOUT and OPAQUE come from ``.wh.`` names."""

    DIRECTORY = 1
    FILE = 2
    SYMLINK = 3
    BLOCK_DEVICE = 4
    CHARACTER_DEVICE = 5
    FIFO = 6
    HARD_LINK = 7
    WHITEOUT = 8
    OPAQUE = 9


class Content(NamedTuple):
    """The bytes of one regular file, stored once however many entries share them.

    Attributes:
        size: bytes of the file, holes included.
        start: offset of the first stored block in the pack's data; 0 when no block is stored.
        blocks: one squashfs size word per full block (stored bytes | UNCOMPRESSED; 0 = hole); one
            more for a short last block when the tail lies in no fragment.
        fragment: index into ``PackIndex.fragments`` of the block that holds the tail,
            or NO_FRAGMENT.
        fragment_offset: where the tail begins inside the uncompressed fragment.
        digest: 16 bytes that equal contents share (holes as zeros), the key of deduplication:
            BLAKE2b of the bytes, or of their leaves' digests (``images/pack_writer.py``).
    """

    size: int
    start: int
    blocks: tuple[int, ...]
    fragment: int
    fragment_offset: int
    digest: bytes


class Entry(NamedTuple):
    """One path of a layer, in the order of the tar.

    Attributes:
        path: normalised: no leading or trailing ``/``, no ``.`` or ``..`` parts; ``b""`` is the
            root. For WHITEOUT the path it removes, for OPAQUE the directory it empties.
        kind: an EntryKind value.
        mode: permission bits (0o7777).
        uid, gid: numeric owner, 0 to 2**32-1.
        mtime: nanoseconds since the epoch; negative before 1970.
        link: target of a symlink as written, or normalised path of a hard link's target.
        device: (major, minor) of a device node, else (0, 0).
        xattrs: (full name, value) pairs, sorted by name, e.g. (b"security.capability", b"...").
        content: index into ``PackIndex.contents``, or -1 when this is no regular file.
    """

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    content: int


class Fragment(NamedTuple):
    """A compressed block that holds the tails of several files: offset in the data, size word."""

    start: int
    size: int


class PackIndex(NamedTuple):
    """Everything about one packed layer but its data.

    Attributes:
        compression: ``zstd`` or ``gzip``: the squashfs compressor of every block.
        digest: of the layer as fetched (compressed), ``sha256:<hex>``.
        diff_id: of the uncompressed tar, ``sha256:<hex>``.
        tar_size: bytes of the uncompressed tar.
        data_size: bytes of the pack's data file.
        entries: in tar order; of duplicate paths the last one counts.
        contents: regular files' bytes.
        fragments: shared tail blocks.
    """

    compression: str
    digest: str
    diff_id: str
    tar_size: int
    data_size: int
    entries: Sequence[Entry]
    contents: Sequence[Content]
    fragments: list[Fragment]
