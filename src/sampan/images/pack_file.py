"""The two files of a pack: the index in a format of our own, and the data behind it.

The index is columns: every field of all entries side by side, numbers as little-endian arrays,
names joined by NUL (no name holds one), the whole compressed by zstd behind a fixed head:

    magic "SAMPANPK", version u32, crc32 of the body u32, bytes of the body u64, then the body

A column is its length as u64 and its bytes. The order of the columns is that of ``dump_index``.
"""

import os
import struct
import sys
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

import zstandard

from sampan.errors import SampanError
from sampan.images.blocks import DAMAGE, decompress_block, stored_bytes
from sampan.images.layer_columns import (
    ContentTable,
    EntryTable,
    Xattrs,
    content_table,
    entry_table,
)
from sampan.model.layer import (
    BLOCK_SIZE,
    NO_FRAGMENT,
    Content,
    EntryKind,
    Fragment,
    PackIndex,
)

_MAGIC = b"SAMPANPK"
_VERSION = 1
_HEAD = struct.Struct("<8sIIQ")
_LENGTH = struct.Struct("<Q")
_LEVEL = 1
_KEPT_BLOCKS = 8
_LINKS = (EntryKind.SYMLINK, EntryKind.HARD_LINK)
_NODES = (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE)


class PackError(SampanError):
    """A pack in the store is damaged, truncated, or of another version."""

    id = "pack"


def dump_index(index: PackIndex) -> bytes:
    """The bytes of an index file."""
    entries, contents = entry_table(index.entries), content_table(index.contents)
    sets = entries.xattr_sets
    head = (index.compression, index.digest, index.diff_id)
    nodes = [entries.devices.get(place, (0, 0)) for place in _places(entries.kinds, _NODES)]
    plain = bytearray()
    for column in (
        "\0".join(head).encode(),
        _numbers("Q", (index.tar_size, index.data_size, len(entries))),
        entries.joined_paths,
        entries.kinds,
        _little_endian(entries.modes),
        _little_endian(entries.uids),
        _little_endian(entries.gids),
        _little_endian(entries.mtimes),
        b"\0".join([entries.link(place) for place in _places(entries.kinds, _LINKS)]),
        _numbers("I", chain.from_iterable(nodes)),
        _little_endian(entries.xattr_numbers),
        _little_endian(entries.contents),
        _numbers("I", map(len, sets)),
        _numbers("I", [len(x) for xattrs in sets for pair in xattrs for x in pair]),
        b"".join([x for xattrs in sets for pair in xattrs for x in pair]),
        _little_endian(contents.sizes),
        _little_endian(contents.starts),
        _little_endian(contents.block_numbers),
        _little_endian(contents.words),
        _little_endian(contents.fragments),
        _little_endian(contents.fragment_offsets),
        contents.digests,
        _numbers("Q", [f.start for f in index.fragments]),
        _numbers("I", [f.size for f in index.fragments]),
    ):
        view = memoryview(column).cast("B")
        plain += _LENGTH.pack(len(view))
        plain += view
    body = zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
    return _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(body), len(body)) + body


def load_index(path: Path) -> PackIndex:
    """Read an index file.

    Raises:
        PackError: it is damaged, truncated, or of another version.
        OSError: it cannot be read.
    """
    columns = _Columns(path)
    compression, digest, diff_id = columns.take().decode().split("\0")
    tar_size, data_size, how_many = columns.numbers("Q")
    entries, contents = EntryTable(), ContentTable()
    try:
        entries.set_paths(columns.take(), how_many)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    kinds = entries.kinds = columns.take()
    entries.modes = columns.numbers("H")
    entries.uids, entries.gids = columns.numbers("I"), columns.numbers("I")
    entries.mtimes = columns.numbers("q")
    entries.link_places = array("I", _places(kinds, _LINKS))
    entries.link_targets = columns.take().split(b"\0")
    pairs = iter(columns.numbers("I"))
    entries.devices = dict(
        zip(_places(kinds, _NODES), zip(pairs, pairs, strict=True), strict=False)
    )
    entries.xattr_numbers, entries.contents = columns.numbers("I"), columns.numbers("i")
    entries.xattr_sets = columns.attributes()
    contents.sizes, contents.starts = columns.numbers("Q"), columns.numbers("Q")
    contents.set_blocks(columns.numbers("I"), columns.numbers("I"))
    contents.fragments, contents.fragment_offsets = columns.numbers("I"), columns.numbers("I")
    contents.digests = columns.take()
    return PackIndex(
        compression=compression,
        digest=digest,
        diff_id=diff_id,
        tar_size=tar_size,
        data_size=data_size,
        entries=entries,
        contents=contents,
        fragments=list(map(Fragment, columns.numbers("Q"), columns.numbers("I"))),
    )


class PackData:
    """The contents of one pack, decompressed on demand."""

    def __init__(self, index: PackIndex, path: Path) -> None:
        """Open the data file of ``index`` at ``path``.

        Raises:
            OSError: it cannot be opened.
        """
        self._index = index
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read_content(self, content: Content, offset: int = 0, limit: int | None = None) -> bytes:
        """Bytes of a content from ``offset`` on, at most ``limit`` of them.

        Raises:
            PackError: the data are damaged or truncated.
            OSError: the file cannot be read.
        """
        end = content.size if limit is None else min(content.size, offset + limit)
        if offset >= end:
            return b""
        first, last = offset // BLOCK_SIZE, (end - 1) // BLOCK_SIZE
        starts = accumulate(map(stored_bytes, content.blocks[: last + 1]), initial=content.start)
        parts = []
        for number, start in enumerate(starts):
            at = number * BLOCK_SIZE
            if number < first:
                continue
            if number > last:
                break
            block = self._block(content, number, start)
            parts.append(block[max(offset - at, 0) : end - at])
        return b"".join(parts)

    def iterate_content(self, content: Content, offset: int, size: int) -> Iterator[bytes]:
        """The bytes of a content from ``offset`` on, ``size`` of them, in pieces of a block.

        Raises:
            PackError: the data are damaged or truncated, or the content has fewer bytes.
            OSError: the file cannot be read.
        """
        end = offset + size
        if end > content.size:
            raise self._damaged(f"{size} bytes from {offset} of a content of {content.size}")
        number = offset // BLOCK_SIZE
        start = content.start + sum(map(stored_bytes, content.blocks[:number]))
        while number * BLOCK_SIZE < end:
            at = number * BLOCK_SIZE
            block = self._block(content, number, start)
            yield (
                block
                if offset <= at and at + len(block) <= end
                else block[max(offset - at, 0) : end - at]
            )
            if number < len(content.blocks):
                start += stored_bytes(content.blocks[number])
            number += 1

    def _block(self, content: Content, number: int, start: int) -> bytes:
        size = min(BLOCK_SIZE, content.size - number * BLOCK_SIZE)
        if number < len(content.blocks):
            word = content.blocks[number]
            return self._read(start, word, size) if word else bytes(size)
        if content.fragment == NO_FRAGMENT:
            raise self._damaged("a content has fewer blocks than its size")
        fragment = self._index.fragments[content.fragment]
        end = content.fragment_offset + size
        return self._read(fragment.start, fragment.size, end)[content.fragment_offset : end]

    def _read(self, start: int, word: int, at_least: int) -> bytes:
        block = self._kept.get(start)
        if block is None:
            stored = os.pread(self._descriptor, stored_bytes(word), start)
            if len(stored) < stored_bytes(word):
                raise self._damaged(f"it ends inside the block at {start}")
            try:
                block = decompress_block(self._index.compression, word, stored)
            except DAMAGE as error:
                raise self._damaged(f"the block at {start} does not decompress: {error}") from error
            self._kept[start] = block
            if len(self._kept) > _KEPT_BLOCKS:
                self._kept.popitem(last=False)
        if len(block) < at_least:
            raise self._damaged(f"the block at {start} is too short")
        return block

    def _damaged(self, reason: str) -> PackError:
        return _damaged(self._path, reason)


class _Columns:
    """The columns of an index file, decompressed one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream, self._left = _open_body(path, path.read_bytes())

    def take(self) -> bytes:
        head = self._read(_LENGTH.size, "a column is missing")
        return self._read(_LENGTH.unpack(head)[0], "a column is truncated")

    def _read(self, size: int, otherwise: str) -> bytes:
        if size > self._left:
            raise _damaged(self._path, otherwise)
        self._left -= size
        try:
            data = self._stream.read(size)
        except zstandard.ZstdError as error:
            raise _damaged(self._path, str(error)) from error
        if len(data) != size:
            raise _damaged(self._path, otherwise)
        return data

    def numbers(self, code: str) -> "array[int]":
        column = array(code)
        column.frombytes(self.take())
        if sys.byteorder == "big":
            column.byteswap()
        return column

    def attributes(self) -> list[Xattrs]:
        pairs, lengths, joined = self.numbers("I"), self.numbers("I"), self.take()
        texts = iter([joined[a:b] for a, b in pairwise(accumulate(lengths, initial=0))])
        return [tuple((next(texts), next(texts)) for _ in range(many)) for many in pairs]


def _places(kinds: bytes | bytearray, which: tuple[EntryKind, ...]) -> list[int]:
    """Where one of these kinds stands, ascending."""
    places: list[int] = []
    for kind in which:
        at = kinds.find(kind)
        while at >= 0:
            places.append(at)
            at = kinds.find(kind, at + 1)
    places.sort()
    return places


def _open_body(path: Path, data: bytes) -> tuple[zstandard.ZstdDecompressionReader, int]:
    """The body as a stream, and its bytes."""
    if len(data) < _HEAD.size:
        raise _damaged(path, f"it has {len(data)} bytes")
    magic, version, checksum, length = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise _damaged(path, "it is no pack index")
    if version != _VERSION:
        raise PackError(
            "a pack in the store was written by another version of Sampan",
            evidence=f"{path}: format {version}, this version reads {_VERSION}",
            remedy="sampan prune, then import the image again",
        )
    body = memoryview(data)[_HEAD.size :]
    if len(body) != length or zlib.crc32(body) != checksum:
        raise _damaged(path, f"{len(body)} of {length} bytes, or the checksum is wrong")
    try:
        size = zstandard.get_frame_parameters(body).content_size
    except zstandard.ZstdError as error:
        raise _damaged(path, str(error)) from error
    return zstandard.ZstdDecompressor().stream_reader(body), size


def _numbers(code: str, values: Iterable[int]) -> "array[int]":
    return _little_endian(array(code, values))


def _little_endian(column: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column


def _damaged(path: Path, reason: str) -> PackError:
    return PackError(
        "a pack in the store is damaged",
        evidence=f"{path}: {reason}",
        remedy=f"delete {path} and import the image again",
    )
