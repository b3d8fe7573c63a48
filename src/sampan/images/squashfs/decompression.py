"""Unpacking the blocks of a squashfs image, whoever compressed it, within bounds."""

import lzma
import zlib
from collections.abc import Callable

from sampan.errors import SampanError


class SquashfsError(SampanError):
    """A squashfs image is damaged, or of a kind that we cannot read."""

    id = "squashfs"


def make_inflate(compression: str) -> Callable[[bytes, int], bytes]:
    """A function from a block and a limit to what the block holds, at most so many bytes.

    It raises whatever its library does when the block is damaged.

    Raises:
        SquashfsError: the compression is not known here.
    """
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
