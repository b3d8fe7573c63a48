"""The two squashfs compressors, block by block: zstd and gzip (zlib streams, by ISA-L).

Blocks, fragments and (in ``squashfs/``) metadata use the same streams. A block that does not
shrink is stored as it is, which its size word says (squashfs 4.0).
"""

import threading
import zlib
from collections.abc import Callable
from typing import cast

import zstandard

from sampan.errors import UsageError
from sampan.model.layer import BLOCK_SIZE, UNCOMPRESSED

_ZSTD_LEVEL = 1
# From level 1 on ISA-L (isal 1.9.1) works in a buffer that it does not clear: now and then a block
# comes out a byte or two longer or shorter, depending on what lay in that memory before. Level 0
# has no such buffer. It costs about a seventh more room than level 1.
_ISAL_LEVEL = 0
_ZLIB_LEVEL = 1

Buffer = bytes | memoryview
Compressor = Callable[[Buffer], bytes]

try:
    from isal import isal_zlib

    _deflate: Callable[[Buffer, int], bytes] = isal_zlib.compress
    _inflate: Callable[[bytes], bytes] = isal_zlib.decompress
    _GZIP_LEVEL = _ISAL_LEVEL
    _gzip_error = cast("type[Exception]", isal_zlib.error)
except ImportError:  # no ISA-L for this architecture
    _deflate = zlib.compress
    _inflate = zlib.decompress
    _GZIP_LEVEL = _ZLIB_LEVEL
    _gzip_error = zlib.error

COMPRESSIONS = ("zstd", "gzip")

DAMAGE = (zstandard.ZstdError, _gzip_error)
"""What ``decompress_block`` raises on damaged input."""

_STORED_BYTES = UNCOMPRESSED - 1


class _ZstdContexts(threading.local):
    """A zstd context must not be used by two threads at once."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _ZstdContexts()


def block_compressor(compression: str) -> Compressor:
    """The function that compresses one block; any thread may call it.

    Raises:
        UsageError: the compression is neither ``zstd`` nor ``gzip``.
    """
    if compression == "zstd":
        return _compress_zstd
    if compression == "gzip":
        return _compress_gzip
    raise UsageError(
        f"unknown compression {compression!r}", remedy=f"use {' or '.join(COMPRESSIONS)}"
    )


def _compress_zstd(block: Buffer) -> bytes:
    return _zstd.compressor.compress(block)


def _compress_gzip(block: Buffer) -> bytes:
    return _deflate(block, _GZIP_LEVEL)


def decompress_block(compression: str, word: int, stored: bytes) -> bytes:
    """The bytes of a stored block whose size word is ``word``.

    Raises:
        DAMAGE: one of these, when the block is damaged.
    """
    if word & UNCOMPRESSED:
        return stored
    if compression == "zstd":
        return _zstd.decompressor.decompress(stored, max_output_size=BLOCK_SIZE)
    return _inflate(stored)


def stored_bytes(word: int) -> int:
    """Bytes that a block of this size word takes in the data."""
    return word & _STORED_BYTES
