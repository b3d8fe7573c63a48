"""Reading single files of a squashfs image, without mounting it and without another program.

For small things: labels, scripts, the machine a program is made for. Whole trees are for the kernel,
squashfuse and unsquashfs. The image may come from anywhere: every number is held against the image's
own size and a limit before memory is spent on it (Linux: fs/squashfs/squashfs_fs.h has the structures).
"""

import lzma
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.images.squashfs import layout

_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_LARGEST_BLOCK = 1 << 20
_MOST_LISTING_BYTES = 64 << 20
_MOST_LINKS = 40
_DIRECTORY, _FILE, _SYMLINK = 1, 2, 3
_NO_FRAGMENT = 0xFFFFFFFF
_BLOCK_UNCOMPRESSED = 1 << 24
_IMPLIED = 3


class SquashfsError(SampanError):
    """A squashfs image is damaged, or of a kind that we cannot read."""

    id = "squashfs"


class Inode(NamedTuple):
    """What an inode says; members of other kinds are 0 or empty.

    Attributes:
        kind: basic type: 1 directory, 2 file, 3 symbolic link, and the rest.
        mode: with the type's bits, as ``stat`` gives it.
        size: bytes of a file, of a listing (with three for ``.`` and ``..``), of a link's target.
        start: of a file's blocks, or of the listing's metadata block.
        offset: of the listing in that block, or of the tail in its fragment.
        fragment: number of the fragment; none = ``_NO_FRAGMENT``.
        blocks: stored sizes of a file's blocks.
        link: target of a symbolic link.
    """

    kind: int
    mode: int
    size: int = 0
    start: int = 0
    offset: int = 0
    fragment: int = _NO_FRAGMENT
    blocks: tuple[int, ...] = ()
    link: bytes = b""


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
        (magic, _, _, self._block_size, self._fragments, kind, _, _, _, major, minor,
         self._root, used, _, _, self._inodes_at, self._listings_at, self._fragments_at, _) = fields  # fmt: skip
        if magic != layout.MAGIC or (major, minor) != (4, 0):
            raise self._damaged("no squashfs 4.0 begins here")
        if not 4096 <= self._block_size <= _LARGEST_BLOCK or used > size:
            raise self._damaged(f"blocks of {self._block_size} bytes, {used} bytes in all")
        self.compression = _COMPRESSIONS.get(kind, f"number {kind}")
        self._inflate = _make_inflate(self.compression)

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
        return sorted(os.fsdecode(name) for name, _ in self._entries(inode))

    def _resolve(self, path: bytes) -> Inode | None:
        """Walk to a path as a process would whose root is the image's."""
        root = self._inode(self._root)
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
            reference = next((to for name, to in self._entries(above[-1]) if name == part), None)
            if reference is None:
                return None
            inode = self._inode(reference)
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

    def _inode(self, reference: int) -> Inode:
        stream = _Metadata(self, self._inodes_at + (reference >> 16), reference & 0xFFFF)
        kind, mode = layout.INODE.unpack(stream.read(layout.INODE.size))[:2]
        is_extended = kind > layout.EXTENDED
        basic = kind - layout.EXTENDED if is_extended else kind
        if basic == _DIRECTORY and not is_extended:
            start, _, size, offset, _ = layout.DIRECTORY.unpack(stream.read(layout.DIRECTORY.size))
            return Inode(basic, mode | stat.S_IFDIR, size, start, offset)
        if basic == _DIRECTORY:
            fields = layout.DIRECTORY_EXTENDED.unpack(stream.read(layout.DIRECTORY_EXTENDED.size))
            return Inode(basic, mode | stat.S_IFDIR, fields[1], fields[2], fields[5])
        if basic == _SYMLINK:
            _, size = layout.SYMLINK.unpack(stream.read(layout.SYMLINK.size))
            if size > 65536:
                raise self._damaged(f"a link target of {size} bytes")
            return Inode(basic, mode | stat.S_IFLNK, size, link=stream.read(size))
        if basic != _FILE:
            return Inode(basic, mode)
        if is_extended:
            start, size, _, _, fragment, offset, _ = struct.unpack("<QQQIIII", stream.read(40))
        else:
            start, fragment, offset, size = struct.unpack("<IIII", stream.read(16))
        number = size // self._block_size + (
            fragment == _NO_FRAGMENT and size % self._block_size != 0
        )
        if number * 4 > self._size:
            raise self._damaged(f"a file of {number} blocks")
        blocks = struct.unpack(f"<{number}I", stream.read(4 * number))
        return Inode(basic, mode | stat.S_IFREG, size, start, offset, fragment, blocks)

    def _entries(self, directory: Inode) -> Iterator[tuple[bytes, int]]:
        """Names of a directory with references to their inodes."""
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

    def _contents(self, inode: Inode, limit: int) -> bytes:
        wanted = min(inode.size, limit)
        found = bytearray()
        place = inode.start
        for word in inode.blocks:
            if len(found) >= wanted:
                break
            stored = word & ~_BLOCK_UNCOMPRESSED
            expected = min(self._block_size, inode.size - len(found))
            if not stored:
                found += bytes(expected)
                continue
            found += self._block(place, word, expected)
            place += stored
        if len(found) < wanted and inode.fragment != _NO_FRAGMENT:
            tail = self._fragment(inode.fragment)[inode.offset :]
            found += tail[: inode.size - len(found)]
        if len(found) < wanted:
            raise self._damaged("a file is shorter than its inode says")
        return bytes(found[:wanted])

    def _fragment(self, number: int) -> bytes:
        if number >= self._fragments:
            raise self._damaged(f"fragment {number} of {self._fragments}")
        per_block = layout.METADATA_SIZE // layout.FRAGMENT.size
        (block,) = struct.unpack("<Q", self._read(self._fragments_at + number // per_block * 8, 8))
        stream = _Metadata(self, block, number % per_block * layout.FRAGMENT.size)
        start, word, _ = layout.FRAGMENT.unpack(stream.read(layout.FRAGMENT.size))
        return self._block(start, word, self._block_size)

    def _block(self, place: int, word: int, limit: int) -> bytes:
        stored = word & ~_BLOCK_UNCOMPRESSED
        if stored > self._block_size:
            raise self._damaged(f"a block of {stored} bytes")
        data = self._read(place, stored)
        return data if word & _BLOCK_UNCOMPRESSED else self.inflate(data, limit)

    def metadata_block(self, place: int) -> tuple[bytes, int]:
        """A metadata block's bytes, and where the next one begins."""
        (word,) = layout.U16.unpack(self._read(place, 2))
        stored = word & ~layout.METADATA_UNCOMPRESSED
        if not 0 < stored <= layout.METADATA_SIZE:
            raise self._damaged(f"a metadata block of {stored} bytes")
        data = self._read(place + 2, stored)
        if not word & layout.METADATA_UNCOMPRESSED:
            data = self.inflate(data, layout.METADATA_SIZE)
        return data, place + 2 + stored

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
        while len(self._data) < size:
            more, self._next = self._reader.metadata_block(self._next)
            self._data += more
        found, self._data = self._data[:size], self._data[size:]
        return found


def _make_inflate(compression: str) -> Callable[[bytes, int], bytes]:
    if compression == "gzip":
        return lambda data, limit: zlib.decompressobj().decompress(data, limit)
    if compression == "xz":
        return lambda data, limit: lzma.LZMADecompressor(
            lzma.FORMAT_XZ, memlimit=64 << 20
        ).decompress(data, limit)
    if compression == "zstd":
        import zstandard

        def inflate(data: bytes, limit: int) -> bytes:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as stream:
                return stream.read(limit)

        return inflate
    raise SquashfsError(
        f"squashfs compressed with {compression} cannot be looked into",
        evidence="gzip, xz and zstd are known",
        remedy="unsquashfs -cat FILE PATH, where it knows this compression",
    )
