"""Reading a squashfs image, without mounting it and without another program.

A running container's root file system is mounted by others; this is for looking into an image, and for
making it into something else (``tar_stream``). The image may come from anywhere: every number is held against the image's
own size and a limit before memory is spent on it (Linux: fs/squashfs/squashfs_fs.h has the structures).
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from sampan.images.squashfs import layout
from sampan.images.squashfs.decompression import SquashfsError, make_inflate

_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_LARGEST_BLOCK = 1 << 20
_MOST_LISTING_BYTES = 64 << 20
_MOST_LINKS = 40
_LONGEST_LINK = 65536
_LONGEST_VALUE = 64 << 10
_MOST_XATTRS = 1024
_MOST_BLOCKS = 1 << 22
"""Of one file: half a tebibyte in blocks of the usual size."""
_BLOCKS_KEPT = 256
_DIRECTORY, _FILE, _SYMLINK = 1, 2, 3
_DEVICES = (4, 5)
_PIPES = (6, 7)
_VALUE_ELSEWHERE = 0x100
_XATTR_PREFIXES = {0: b"user.", 1: b"trusted.", 2: b"security."}
_NO_FRAGMENT = 0xFFFFFFFF
_BLOCK_UNCOMPRESSED = 1 << 24
_IMPLIED = 3


class Inode(NamedTuple):
    """What an inode says; members of other kinds are 0 or empty.

    Attributes:
        kind: basic type: 1 directory, 2 file, 3 symbolic link, and the rest.
        mode: permissions, as ``stat`` gives them, without the type.
        owners: numbers of user and group in the table of ids.
        mtime: seconds since the epoch.
        number: of the inode.
        size: bytes of a file, of a listing (with three for ``.`` and ``..``), of a link's target.
        start: of a file's blocks, or of the listing's metadata block.
        offset: of the listing in that block, or of the tail in its fragment.
        fragment: number of the fragment; none = ``_NO_FRAGMENT``.
        blocks: stored sizes of a file's blocks.
        link: target of a symbolic link.
        links: how many names it has.
        device: number of a device node, encoded.
        xattr: number of its extended attributes; none = ``layout.NO_XATTR``.
    """

    kind: int
    mode: int
    owners: tuple[int, int]
    mtime: int
    number: int
    size: int = 0
    start: int = 0
    offset: int = 0
    fragment: int = _NO_FRAGMENT
    blocks: tuple[int, ...] = ()
    link: bytes = b""
    links: int = 1
    device: int = 0
    xattr: int = layout.NO_XATTR


class SquashfsReader:
    """One image, at an offset of an open file that stays the caller's."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        """Read the superblock.

        Raises:
            SquashfsError: this is no squashfs 4.0, or its compression is not known here.
        """
        self._descriptor = descriptor
        self._offset = offset
        self._size = size
        fields = layout.SUPERBLOCK.unpack(self._read(0, layout.SUPERBLOCK.size))
        (magic, self.inode_total, _, self._block_size, self._fragments, kind, _, _, self._ids,
         major, minor, self._root, used, self._ids_at, self._xattrs_at, self._inodes_at,
         self._listings_at, self._fragments_at, _) = fields  # fmt: skip
        if magic != layout.MAGIC or (major, minor) != (4, 0):
            raise self._damaged("no squashfs 4.0 begins here")
        if not 4096 <= self._block_size <= _LARGEST_BLOCK or used > size:
            raise self._damaged(f"blocks of {self._block_size} bytes, {used} bytes in all")
        self.compression = _COMPRESSIONS.get(kind, f"number {kind}")
        self._inflate = make_inflate(self.compression)
        self._metadata: dict[int, tuple[bytes, int]] = {}
        self._last_fragment: tuple[int, bytes] = (-1, b"")

    def read_file(self, path: str, limit: int) -> bytes | None:
        """The beginning of a file, links followed inside the image; None when there is no such file.

        Args:
            path: from the root.
            limit: at most so many bytes.

        Raises:
            SquashfsError: the image is damaged.
        """
        inode = self._resolve(path.encode())
        if inode is None or inode.kind != _FILE:
            return None
        return self._contents(inode, limit)

    def list_directory(self, path: str) -> list[str]:
        """The names in a directory, sorted; empty when there is none.

        Raises:
            SquashfsError: the image is damaged.
        """
        inode = self._resolve(path.encode())
        if inode is None or inode.kind != _DIRECTORY:
            return []
        return sorted(os.fsdecode(name) for name, _ in self.entries(inode))

    def _resolve(self, path: bytes) -> Inode | None:
        """Walk to a path as a process would whose root is the image's."""
        root = self.inode(self._root)
        above: list[Inode] = [root]
        left = [part for part in path.split(b"/") if part not in (b"", b".")]
        links = 0
        while left:
            part = left.pop(0)
            if part == b"..":
                above = above[:-1] or [root]
                continue
            if above[-1].kind != _DIRECTORY:
                return None
            reference = next((to for name, to in self.entries(above[-1]) if name == part), None)
            if reference is None:
                return None
            inode = self.inode(reference)
            if inode.kind == _SYMLINK:
                links += 1
                if links > _MOST_LINKS:
                    return None
                if inode.link.startswith(b"/"):
                    above = [root]
                left = [one for one in inode.link.split(b"/") if one not in (b"", b".")] + left
                continue
            above.append(inode)
        return above[-1]

    def root(self) -> Inode:
        """The root directory."""
        return self.inode(self._root)

    def inode(self, reference: int) -> Inode:
        """An inode by its place in the table.

        Raises:
            SquashfsError: the image is damaged.
        """
        stream = _Metadata(self, self._inodes_at + (reference >> 16), reference & 0xFFFF)
        kind, mode, user, group, mtime, number = layout.INODE.unpack(stream.read(16))
        is_extended = kind > layout.EXTENDED
        kind -= layout.EXTENDED if is_extended else 0
        found = Inode(kind, mode & 0o7777, (user, group), mtime, number)
        if kind == _DIRECTORY:
            return self._directory(stream, found, is_extended)
        if kind == _FILE:
            return self._file(stream, found, is_extended)
        if kind == _SYMLINK:
            links, size = layout.SYMLINK.unpack(stream.read(8))
            if size > _LONGEST_LINK:
                raise self._damaged(f"a link target of {size} bytes")
            found = found._replace(size=size, link=stream.read(size), links=links)
        elif kind in _DEVICES:
            links, device = layout.DEVICE.unpack(stream.read(8))
            found = found._replace(links=links, device=device)
        elif kind in _PIPES:
            found = found._replace(links=layout.U32.unpack(stream.read(4))[0])
        else:
            raise self._damaged(f"an inode of type {kind}")
        if is_extended:
            found = found._replace(xattr=layout.U32.unpack(stream.read(4))[0])
        return found

    def _directory(self, stream: "_Metadata", found: Inode, is_extended: bool) -> Inode:
        if not is_extended:
            start, _, size, offset, _ = layout.DIRECTORY.unpack(stream.read(16))
            return found._replace(size=size, start=start, offset=offset)
        _, size, start, _, _, offset, xattr = layout.DIRECTORY_EXTENDED.unpack(stream.read(24))
        return found._replace(size=size, start=start, offset=offset, xattr=xattr)

    def _file(self, stream: "_Metadata", found: Inode, is_extended: bool) -> Inode:
        if is_extended:
            start, size, _, links, fragment, offset, xattr = struct.unpack(
                "<QQQIIII", stream.read(40)
            )
            found = found._replace(links=links, xattr=xattr)
        else:
            start, fragment, offset, size = struct.unpack("<IIII", stream.read(16))
        number = size // self._block_size
        if fragment == _NO_FRAGMENT and size % self._block_size:
            number += 1
        if number > _MOST_BLOCKS:
            raise self._damaged(f"a file of {number} blocks")
        blocks = struct.unpack(f"<{number}I", stream.read(4 * number))
        return found._replace(
            size=size, start=start, offset=offset, fragment=fragment, blocks=blocks
        )

    def owner(self, number: int) -> int:
        """A user's or group's id by its number in the table."""
        if number >= self._ids:
            raise self._damaged(f"owner {number} of {self._ids}")
        (identity,) = layout.U32.unpack(self._lookup(self._ids_at, number, 4))
        return int(identity)

    def xattrs(self, number: int) -> list[tuple[bytes, bytes]]:
        """Extended attributes by their number: names with their name space, and values."""
        if number == layout.NO_XATTR or self._xattrs_at == layout.NO_TABLE:
            return []
        pairs_at, total, _ = layout.XATTR_TABLE.unpack(self._read(self._xattrs_at, 16))
        if number >= total:
            raise self._damaged(f"attributes {number} of {total}")
        reference, pairs, _ = layout.XATTR_ID.unpack(
            self._lookup(self._xattrs_at + layout.XATTR_TABLE.size, number, layout.XATTR_ID.size)
        )
        if pairs > _MOST_XATTRS:
            raise self._damaged(f"{pairs} extended attributes of one file")
        stream = _Metadata(self, pairs_at + (reference >> 16), reference & 0xFFFF)
        found = []
        for _ in range(pairs):
            space, size = layout.XATTR_KEY.unpack(stream.read(4))
            name = stream.read(size)
            value = stream.read(self._value_size(stream))
            if space & _VALUE_ELSEWHERE:
                (place,) = struct.unpack("<Q", value)
                there = _Metadata(self, pairs_at + (place >> 16), place & 0xFFFF)
                value = there.read(self._value_size(there))
            prefix = _XATTR_PREFIXES.get(space & 0xFF)
            if prefix:
                found.append((prefix + name, value))
        return found

    def _value_size(self, stream: "_Metadata") -> int:
        (size,) = layout.U32.unpack(stream.read(4))
        if size > _LONGEST_VALUE:
            raise self._damaged(f"an extended attribute of {size} bytes")
        return int(size)

    def _lookup(self, table: int, number: int, size: int) -> bytes:
        """A record of a table that is reached by pointers to its metadata blocks."""
        per_block = layout.METADATA_SIZE // size
        (block,) = struct.unpack("<Q", self._read(table + number // per_block * 8, 8))
        return _Metadata(self, block, number % per_block * size).read(size)

    def entries(self, directory: Inode) -> Iterator[tuple[bytes, int]]:
        """Names of a directory with references to their inodes.

        Raises:
            SquashfsError: the image is damaged.
        """
        left = directory.size - _IMPLIED
        if left > _MOST_LISTING_BYTES:
            raise self._damaged(f"a directory's listing of {left} bytes")
        stream = _Metadata(self, self._listings_at + directory.start, directory.offset)
        while left > 0:
            last, block, _ = layout.LISTING_HEADER.unpack(stream.read(layout.LISTING_HEADER.size))
            left -= layout.LISTING_HEADER.size
            if last >= layout.DIRECTORY_RUN:
                raise self._damaged(f"a run of {last + 1} names")
            for _ in range(last + 1):
                offset, _, _, size = layout.LISTING_ENTRY.unpack(
                    stream.read(layout.LISTING_ENTRY.size)
                )
                yield stream.read(size + 1), block << 16 | offset
                left -= layout.LISTING_ENTRY.size + size + 1

    def pieces(self, inode: Inode) -> Iterator[bytes]:
        """The contents of a file, a block at a time.

        Raises:
            SquashfsError: the image is damaged.
        """
        place = inode.start
        done = 0
        for word in inode.blocks:
            expected = min(self._block_size, inode.size - done)
            stored = word & ~_BLOCK_UNCOMPRESSED
            piece = self._block(place, word, expected) if stored else bytes(expected)
            if len(piece) != expected:
                raise self._damaged(f"a block of {len(piece)} bytes instead of {expected}")
            yield piece
            place += stored
            done += expected
        if done < inode.size:
            tail = self._fragment(inode.fragment)[inode.offset : inode.offset + inode.size - done]
            if len(tail) != inode.size - done:
                raise self._damaged("a file is shorter than its inode says")
            yield tail

    def _contents(self, inode: Inode, limit: int) -> bytes:
        found = bytearray()
        for piece in self.pieces(inode):
            found += piece
            if len(found) >= limit:
                break
        return bytes(found[:limit])

    def _fragment(self, number: int) -> bytes:
        # Small files that lie together have their tails in one fragment.
        if number != self._last_fragment[0]:
            if number >= self._fragments:
                raise self._damaged(f"fragment {number} of {self._fragments}")
            start, word, _ = layout.FRAGMENT.unpack(
                self._lookup(self._fragments_at, number, layout.FRAGMENT.size)
            )
            self._last_fragment = number, self._block(start, word, self._block_size)
        return self._last_fragment[1]

    def _block(self, place: int, word: int, limit: int) -> bytes:
        stored = word & ~_BLOCK_UNCOMPRESSED
        if stored > self._block_size:
            raise self._damaged(f"a block of {stored} bytes")
        data = self._read(place, stored)
        return data if word & _BLOCK_UNCOMPRESSED else self.inflate(data, limit)

    def metadata_block(self, place: int) -> tuple[bytes, int]:
        """A metadata block's bytes, and where the next one begins."""
        known = self._metadata.get(place)
        if known is not None:
            return known
        (word,) = layout.U16.unpack(self._read(place, 2))
        stored = word & ~layout.METADATA_UNCOMPRESSED
        if not 0 < stored <= layout.METADATA_SIZE:
            raise self._damaged(f"a metadata block of {stored} bytes")
        data = self._read(place + 2, stored)
        if not word & layout.METADATA_UNCOMPRESSED:
            data = self.inflate(data, layout.METADATA_SIZE)
        if len(self._metadata) >= _BLOCKS_KEPT:
            self._metadata.clear()
        self._metadata[place] = data, place + 2 + stored
        return self._metadata[place]

    def inflate(self, data: bytes, limit: int) -> bytes:
        """What a block holds, at most ``limit`` bytes."""
        try:
            return self._inflate(data, limit)
        except Exception as error:  # each library has its own errors
            raise self._damaged(f"a block cannot be unpacked: {error}") from error

    def _read(self, place: int, size: int) -> bytes:
        if not 0 <= place <= self._size - size:
            raise self._damaged(f"{size} bytes are wanted at {place} of {self._size}")
        data = os.pread(self._descriptor, size, self._offset + place)
        if len(data) != size:
            raise self._damaged("the file ends early")
        return data

    def _damaged(self, evidence: str) -> SquashfsError:
        return SquashfsError(
            "the squashfs image is damaged",
            evidence=evidence,
            remedy="fetch or make the file again",
        )


class _Metadata:
    """Bytes of a table from a place on, across its blocks."""

    def __init__(self, reader: SquashfsReader, block: int, offset: int) -> None:
        self._reader = reader
        data, self._next = reader.metadata_block(block)
        self._data = data[offset:]

    def read(self, size: int) -> bytes:
        if len(self._data) < size:
            gathered = [self._data]
            length = len(self._data)
            while length < size:
                more, self._next = self._reader.metadata_block(self._next)
                gathered.append(more)
                length += len(more)
            self._data = b"".join(gathered)
        found, self._data = self._data[:size], self._data[size:]
        return found
