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
from typing import Self, TypeVar

import zstandard

from sampan.errors import SampanError
from sampan.images.blocks import DAMAGE, decompress_block, stored_bytes
from sampan.model.layer import (
    BLOCK_SIZE,
    NO_FRAGMENT,
    Content,
    Entry,
    EntryKind,
    Fragment,
    PackIndex,
)

_MAGIC = b"SAMPANPK"
_VERSION = 1
_HEAD = struct.Struct("<8sIIQ")
_LENGTH = struct.Struct("<Q")
_LEVEL = 1
_DIGEST_BYTES = 16
_KEPT_BLOCKS = 8
_LINKS = (EntryKind.SYMLINK, EntryKind.HARD_LINK)
_NODES = (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE)

_T = TypeVar("_T")
Xattrs = tuple[tuple[bytes, bytes], ...]


class PackError(SampanError):
    """A pack in the store is damaged, truncated, or of another version."""

    id = "pack"


def dump_index(index: PackIndex) -> bytes:
    """The bytes of an index file."""
    entries, contents = index.entries, index.contents
    attributes: dict[Xattrs, int] = {(): 0}
    for entry in entries:
        if entry.xattrs:
            attributes.setdefault(entry.xattrs, len(attributes))
    head = (index.compression, index.digest, index.diff_id)
    nodes = [e.device for e in entries if e.kind in _NODES]
    columns = [
        "\0".join(head).encode(),
        _numbers("Q", (index.tar_size, index.data_size, len(entries))),
        b"\0".join([e.path for e in entries]),
        bytes([e.kind for e in entries]),
        _numbers("H", [e.mode for e in entries]),
        _numbers("I", [e.uid for e in entries]),
        _numbers("I", [e.gid for e in entries]),
        _numbers("q", [e.mtime for e in entries]),
        b"\0".join([e.link for e in entries if e.kind in _LINKS]),
        _numbers("I", [number for node in nodes for number in node]),
        _numbers("I", [attributes[e.xattrs] for e in entries]),
        _numbers("i", [e.content for e in entries]),
        _numbers("I", map(len, attributes)),
        _numbers("I", [len(x) for xattrs in attributes for pair in xattrs for x in pair]),
        b"".join([x for xattrs in attributes for pair in xattrs for x in pair]),
        _numbers("Q", [c.size for c in contents]),
        _numbers("Q", [c.start for c in contents]),
        _numbers("I", [len(c.blocks) for c in contents]),
        _numbers("I", chain.from_iterable(c.blocks for c in contents)),
        _numbers("I", [c.fragment for c in contents]),
        _numbers("I", [c.fragment_offset for c in contents]),
        b"".join([c.digest for c in contents]),
        _numbers("Q", [f.start for f in index.fragments]),
        _numbers("I", [f.size for f in index.fragments]),
    ]
    plain = b"".join([part for c in columns for part in (_LENGTH.pack(len(c)), c)])
    body = zstandard.ZstdCompressor(level=_LEVEL).compress(plain)
    return _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(body), len(body)) + body


def load_index(path: Path) -> PackIndex:
    """Read an index file.

    Raises:
        PackError: it is damaged, truncated, or of another version.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    columns = _Columns(path, _read_body(path, data))
    compression, digest, diff_id = columns.take().decode().split("\0")
    tar_size, data_size, how_many = columns.numbers("Q")
    joined = columns.take()
    paths = joined.split(b"\0") if how_many else []
    kinds = columns.take()
    modes, uids, gids, times = (columns.numbers(code) for code in "HIIq")
    links = _spread(columns.take().split(b"\0"), kinds, _LINKS, b"")
    pairs = iter(columns.numbers("I"))
    devices = _spread(list(zip(pairs, pairs, strict=True)), kinds, _NODES, (0, 0))
    uses, numbers = columns.numbers("I"), columns.numbers("i")
    attributes = columns.attributes()
    sizes, starts = columns.numbers("Q"), columns.numbers("Q")
    blocks = columns.blocks()
    fragments, offsets = columns.numbers("I"), columns.numbers("I")
    digests = columns.take()
    cuts = range(0, len(digests), _DIGEST_BYTES)
    return PackIndex(
        compression=compression,
        digest=digest,
        diff_id=diff_id,
        tar_size=tar_size,
        data_size=data_size,
        entries=list(
            map(
                Entry,
                paths,
                kinds,
                modes,
                uids,
                gids,
                times,
                links,
                devices,
                map(attributes.__getitem__, uses),
                numbers,
            )
        ),
        contents=list(
            map(
                Content,
                sizes,
                starts,
                blocks,
                fragments,
                offsets,
                [digests[at : at + _DIGEST_BYTES] for at in cuts],
            )
        ),
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
    """The columns of an index body, taken one after the other."""

    def __init__(self, path: Path, body: bytes) -> None:
        self._path = path
        self._body = body
        self._at = 0

    def take(self) -> bytes:
        begin = self._at + _LENGTH.size
        if begin > len(self._body):
            raise _damaged(self._path, "a column is missing")
        (length,) = _LENGTH.unpack_from(self._body, self._at)
        self._at = begin + length
        if self._at > len(self._body):
            raise _damaged(self._path, "a column is truncated")
        return self._body[begin : self._at]

    def numbers(self, code: str) -> "array[int]":
        column = array(code)
        column.frombytes(self.take())
        if sys.byteorder == "big":
            column.byteswap()
        return column

    def blocks(self) -> list[tuple[int, ...]]:
        lengths, words = self.numbers("I"), self.numbers("I")
        ends = accumulate(lengths, initial=0)
        return [tuple(words[a:b]) if a != b else () for a, b in pairwise(ends)]

    def attributes(self) -> list[Xattrs]:
        pairs, lengths, joined = self.numbers("I"), self.numbers("I"), self.take()
        texts = iter([joined[a:b] for a, b in pairwise(accumulate(lengths, initial=0))])
        return [tuple((next(texts), next(texts)) for _ in range(many)) for many in pairs]


def _spread(values: list[_T], kinds: bytes, which: tuple[EntryKind, ...], rest: _T) -> list[_T]:
    """One value an entry: those of ``values`` in turn for the kinds in ``which``, else ``rest``."""
    spread = [rest] * len(kinds)
    places = [place for place, kind in enumerate(kinds) if kind in which]
    for place, value in zip(places, values, strict=False):
        spread[place] = value
    return spread


def _read_body(path: Path, data: bytes) -> bytes:
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
        return zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as error:
        raise _damaged(path, str(error)) from error


def _numbers(code: str, values: Iterable[int]) -> bytes:
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _damaged(path: Path, reason: str) -> PackError:
    return PackError(
        "a pack in the store is damaged",
        evidence=f"{path}: {reason}",
        remedy=f"delete {path} and import the image again",
    )
