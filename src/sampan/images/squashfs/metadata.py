"""Metadata blocks: 8 KiB pieces, each compressed behind a 16-bit size, and tables made of them."""

import struct
from collections.abc import Callable, Sequence

from sampan.errors import InternalError
from sampan.images.squashfs.layout import METADATA_SIZE, METADATA_UNCOMPRESSED, U16

Compress = Callable[[bytes], bytes]


def make_compressor(compression: str) -> Compress:
    """The function that compresses metadata as ``compression`` (``zstd`` or ``gzip``) says.

    Raises:
        InternalError: another compression.
    """
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress
    if compression == "gzip":
        import zlib

        return zlib.compress
    raise InternalError(f"no squashfs compression is called {compression!r}")


class MetadataWriter:
    """A stream of metadata blocks.

    ``block`` and ``offset`` say where the next byte will lie: start of its compressed block in the
    stream, and place inside the uncompressed block. Together they are what squashfs calls a
    reference.
    """

    def __init__(self, compress: Compress) -> None:
        self._compress = compress
        self._buffer = bytearray()
        self._blocks: list[bytes] = []
        self.block = 0

    @property
    def offset(self) -> int:
        """Place of the next byte inside its uncompressed block."""
        return len(self._buffer)

    def write(self, data: bytes) -> None:
        """Append ``data``, which may cross blocks."""
        buffer = self._buffer
        buffer += data
        if len(buffer) >= METADATA_SIZE:
            start = 0
            while len(buffer) - start >= METADATA_SIZE:
                self._emit(bytes(buffer[start : start + METADATA_SIZE]))
                start += METADATA_SIZE
            del buffer[:start]

    def finish(self) -> bytes:
        """The whole stream."""
        if self._buffer:
            self._emit(bytes(self._buffer))
            self._buffer.clear()
        return b"".join(self._blocks)

    def _emit(self, plain: bytes) -> None:
        packed = self._compress(plain)
        if len(packed) < len(plain):
            block = U16.pack(len(packed)) + packed
        else:
            block = U16.pack(len(plain) | METADATA_UNCOMPRESSED) + plain
        self._blocks.append(block)
        self.block += len(block)


def write_lookup_table(
    records: Sequence[bytes], compress: Compress, position: int
) -> tuple[bytes, int]:
    """A table that the kernel indexes by number: metadata blocks, then a pointer to each of them.

    Args:
        records: all of one size, which divides 8 KiB.
        compress: see ``make_compressor``.
        position: where in the image the result will be put.

    Returns:
        the bytes, and the position of the pointers, which the superblock names.
    """
    writer = MetadataWriter(compress)
    pointers = []
    per_block = METADATA_SIZE // len(records[0])
    for first in range(0, len(records), per_block):
        pointers.append(position + writer.block)
        writer.write(b"".join(records[first : first + per_block]))
    blocks = writer.finish()
    return blocks + struct.pack(f"<{len(pointers)}Q", *pointers), position + len(blocks)
