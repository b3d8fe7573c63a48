"""Layers compressed as they go out: gzip by several threads, zstd, or not at all.

Same tar, compression and level give the same bytes, however many threads: so the digest of a blob
that a registry has already can be known again. gzip is zlib's, a mebibyte at a time, each piece
ended by a sync flush, as pigz writes it: one member that every reader takes. (ISA-L is faster, but
its output is not always the same, see docs/decisions.md.)
"""

import io
import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, cast

import zstandard

from sampan.errors import UsageError
from sampan.images.readahead import ReadAhead

COMPRESSIONS = ("gzip", "zstd", "none")
DEFAULT_LEVELS = {"gzip": 1, "zstd": 3, "none": 0}
_LEVELS = {"gzip": range(1, 10), "zstd": range(1, 20), "none": range(1)}

_PIECE_BYTES = 1 << 20
_MOST_THREADS = 16
_RAW = -15
# No name, no time, no hint at level or system: RFC 1952, 2.3.1.
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK = b"\x03\0"


def check_level(compression: str, level: int | None) -> int:
    """The level to use; the compression's default when None.

    Raises:
        UsageError: no such compression or level.
    """
    if compression not in _LEVELS:
        raise UsageError(
            f"no compression {compression!r}", remedy=f"use {' or '.join(COMPRESSIONS)}"
        )
    if level is None:
        return DEFAULT_LEVELS[compression]
    levels = _LEVELS[compression]
    if level not in levels:
        raise UsageError(
            f"{compression} has no level {level}", remedy=f"use {levels[0]} to {levels[-1]}"
        )
    return level


def open_compressed(source: BinaryIO, compression: str, level: int) -> BinaryIO:
    """A tar's compressed bytes as a stream that closes the tar with itself.

    Args:
        source: the tar; read to its end by whoever reads the result.
        compression: one of COMPRESSIONS.
        level: from ``check_level``.
    """
    ahead = _open_ahead(source)
    if compression == "none":
        return ahead
    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    if compression == "zstd":
        # With threads=0 the library cuts otherwise: one thread at least, for the same bytes.
        compressor = zstandard.ZstdCompressor(level=level, threads=threads)
        return _open_ahead(cast("BinaryIO", _ZstdStream(ahead, compressor)))
    return _open_ahead(cast("BinaryIO", _GzipStream(ahead, level, threads)))


def _open_ahead(source: BinaryIO) -> BinaryIO:
    """The stream as another thread reads it: making a tar, compressing and sending go on at once."""
    return cast("BinaryIO", io.BufferedReader(_AheadStream(source), _PIECE_BYTES))


class _AheadStream(io.RawIOBase):
    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self._slabs = ReadAhead(_Slabs(source))
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(self._slabs.read_slab())
        part = self._rest[: len(buffer)]
        buffer[: len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._slabs.close()
            self._source.close()
        super().close()


class _Slabs:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read_slab(self) -> bytes:
        return self._stream.read(_PIECE_BYTES)


class _ZstdStream(io.RawIOBase):
    def __init__(self, source: BinaryIO, compressor: zstandard.ZstdCompressor) -> None:
        super().__init__()
        self._source = source
        self._reader = compressor.stream_reader(source, closefd=False)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._reader.read(size)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._reader.readinto(buffer)

    def close(self) -> None:
        self._source.close()
        super().close()


class _GzipStream(io.RawIOBase):
    def __init__(self, source: BinaryIO, level: int, threads: int) -> None:
        super().__init__()
        self._source = source
        self._level = level
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sampan-gzip")
        self._room = threads + 2
        self._pieces: deque[Future[bytes]] = deque()
        self._crc = 0
        self._size = 0
        self._is_read = False
        self._ready = memoryview(_GZIP_HEAD)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            self._fill()
            if not self._pieces:
                return 0
            self._ready = memoryview(self._pieces.popleft().result())
        part = self._ready[: len(buffer)]
        buffer[: len(part)] = part
        self._ready = self._ready[len(part) :]
        return len(part)

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._source.close()
        super().close()

    def _fill(self) -> None:
        while not self._is_read and len(self._pieces) < self._room:
            piece = self._source.read(_PIECE_BYTES)
            if piece:
                self._crc = zlib.crc32(piece, self._crc)
                self._size += len(piece)
                self._pieces.append(self._pool.submit(_deflate, piece, self._level))
                continue
            self._is_read = True
            end: Future[bytes] = Future()
            tail = self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
            end.set_result(_LAST_BLOCK + tail)
            self._pieces.append(end)


def _deflate(piece: bytes, level: int) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH)
