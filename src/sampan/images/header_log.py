"""What a layer's tar holds besides its files' contents, kept so that the same tar can be made again.

A pack keeps blocks, not tars. Beside it lies ``<hex>.headers``: headers, records, padding, the end
and what follows it, with a note after each run of such bytes which part of which entry's content
follows there. ``layer_tar.py`` puts both together again.

The file is a magic number and one zstd stream of chunks:

    runs u32, literal bytes u32, then for each run: literal bytes u32, entry u32 (2**32-1 = none),
    offset in its content u64, bytes of its content u64 -- each as a column -- then the literals

The last chunk has no runs and no literals: a file without it was cut.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import zstandard

from sampan.images.pack_file import PackError

_MAGIC = b"SAMPANTH\x01\0\0\0"
_HEAD = struct.Struct("<II")
_LEVEL = 1
_CHUNK_BYTES = 1 << 20
_CHUNK_RUNS = 1 << 14
_MOST_BYTES = 64 << 20
_NOBODY = 0xFFFFFFFF
_COLUMNS = "IIQQ"


class Run(NamedTuple):
    """Bytes of the tar as they are, and the part of an entry's content that follows them.

    Attributes:
        literal: may be empty.
        entry: position in ``PackIndex.entries``; -1 when no content follows.
        offset: of the part, in the content with its holes.
        size: bytes of the part.
    """

    literal: bytes
    entry: int
    offset: int
    size: int


class HeaderLog:
    """Writes one headers file; memory is bounded whatever the layer's size."""

    def __init__(self, stream: BinaryIO) -> None:
        stream.write(_MAGIC)
        self._out = zstandard.ZstdCompressor(level=_LEVEL).stream_writer(stream, closefd=False)
        self._literals: list[bytes] = []
        self._columns = [array(code) for code in _COLUMNS]
        self._pending = 0
        self._bytes = 0
        self._last = (-1, 0)

    def add_literal(self, literal: bytes) -> None:
        """Note bytes that are no content."""
        if literal:
            self._literals.append(literal)
            self._pending += len(literal)
            self._last = (-1, 0)
            if self._bytes + self._pending >= _CHUNK_BYTES:
                self._end_run(_NOBODY, 0, 0)
                self._flush()

    def add_content(self, entry: int, offset: int, size: int) -> None:
        """Note that a part of an entry's content follows."""
        if self._last == (entry, offset):
            self._columns[3][-1] += size
            self._last = (entry, offset + size)
            return
        self._end_run(entry, offset, size)
        self._last = (entry, offset + size)
        if len(self._columns[0]) >= _CHUNK_RUNS:
            self._flush()

    def finish(self) -> None:
        """Write what is outstanding and the end."""
        if self._pending:
            self._end_run(_NOBODY, 0, 0)
        self._flush()
        self._out.write(_HEAD.pack(0, 0))
        self._out.flush(zstandard.FLUSH_FRAME)

    def _end_run(self, *values: int) -> None:
        for column, value in zip(self._columns, (self._pending, *values), strict=True):
            column.append(value)
        self._bytes += self._pending
        self._pending = 0

    def _flush(self) -> None:
        if not self._columns[0]:
            return
        self._out.write(_HEAD.pack(len(self._columns[0]), self._bytes))
        for column in self._columns:
            if sys.byteorder == "big":
                column.byteswap()
            self._out.write(column.tobytes())
        self._out.write(b"".join(self._literals))
        self._literals.clear()
        self._columns = [array(code) for code in _COLUMNS]
        self._bytes = 0
        self._last = (-1, 0)


def read_runs(path: Path) -> Iterator[Run]:
    """The runs of a headers file, in the order of the tar.

    Raises:
        PackError: it is damaged, truncated, or of another version.
        OSError: it cannot be read.
    """
    with open(path, "rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise _damaged(path, "it is no file of headers of this version")
        with zstandard.ZstdDecompressor().stream_reader(stream, closefd=False) as plain:
            while True:
                runs, size = _HEAD.unpack(_read(plain, _HEAD.size, path))
                if not runs:
                    return
                if runs > _CHUNK_RUNS or size > _MOST_BYTES:
                    raise _damaged(path, f"a chunk of {runs} runs and {size} bytes")
                columns = []
                for code in _COLUMNS:
                    column = array(code)
                    column.frombytes(_read(plain, runs * column.itemsize, path))
                    if sys.byteorder == "big":
                        column.byteswap()
                    columns.append(column)
                literals = _read(plain, size, path)
                at = 0
                for length, entry, offset, part in zip(*columns, strict=True):
                    literal = literals[at : at + length]
                    at += length
                    yield Run(literal, -1 if entry == _NOBODY else entry, offset, part)


def _read(stream: zstandard.ZstdDecompressionReader, size: int, path: Path) -> bytes:
    parts = []
    left = size
    while left:
        try:
            part = stream.read(left)
        except zstandard.ZstdError as error:
            raise _damaged(path, str(error)) from error
        if not part:
            raise _damaged(path, "it is truncated")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _damaged(path: Path, reason: str) -> PackError:
    return PackError(
        "the headers of a layer in the store are damaged",
        evidence=f"{path}: {reason}",
        remedy="sampan rmi -f IMAGE, sampan prune --all, then pull or import the image again",
    )
