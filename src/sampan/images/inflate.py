"""A layer's bytes as a plain tar, whatever compressed it, with both digests on the way.

gzip (several members, ISA-L), zstd (several and skippable frames), xz, bzip2 and plain streams are
told apart by their first bytes, as every tool that unpacks layers does; media types are the
importer's business. Truncation, damage, trailing garbage and bombs are refused here.
"""

import bz2
import gzip
import io
import lzma
import secrets
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import IO, BinaryIO, Protocol, Self, cast

import zstandard

from sampan.images.limits import DEFAULT_LIMITS, Limits, refuse_excess, refuse_layer
from sampan.images.readahead import SLAB_BYTES, StreamHash

try:
    from isal import igzip, isal_zlib

    _open_gzip: Callable[..., gzip.GzipFile] = igzip.IGzipFile
    _gzip_error = cast("type[Exception]", isal_zlib.error)
except ImportError:  # no ISA-L for this architecture
    _open_gzip = gzip.GzipFile
    _gzip_error = zlib.error

_INPUT_BYTES = 256 << 10
_MAGIC_BYTES = 10
_DAMAGE = (gzip.BadGzipFile, _gzip_error, zlib.error, zstandard.ZstdError, lzma.LZMAError)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Inflated(io.RawIOBase):
    """The uncompressed bytes of a layer, read once from front to back.

    Attributes:
        kind: ``gzip``, ``zstd``, ``xz``, ``bzip2`` or ``plain``.
        size: uncompressed bytes given out so far.
    """

    def __init__(self, stream: BinaryIO, *, layer: str, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__()
        self._layer = layer
        self._limits = limits
        self._rest = b""
        self.size = 0
        self._hash: StreamHash | None = None
        self._source = _Source(stream)
        self.kind = _detect(self._source.peek())
        self._reader: _Reader = _READERS[self.kind](self._source, limits)
        # What a plain stream gives out is what it took in: one digest serves for both.
        if self.kind != "plain":
            self._hash = StreamHash()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    @property
    def compressed_size(self) -> int:
        """Bytes taken from the stream so far."""
        return self._source.size

    def readable(self) -> bool:
        """Always, until closed."""
        return True

    def read_slab(self) -> bytes:
        """The next piece, about a mebibyte; ``b""`` at the end.

        Raises:
            LayerError: the stream is damaged, ends too early, or grows beyond the ratio limit.
            OSError: the stream itself cannot be read.
        """
        if self._rest:
            slab, self._rest = self._rest, b""
            return slab
        slab = self._inflate()
        self.size += len(slab)
        limits = self._limits
        if self.size > limits.ratio_floor_bytes and (
            self.size > limits.max_ratio * self._source.size
        ):
            raise refuse_excess(
                self._layer,
                f"{self._source.size} compressed bytes grow to more than {self.size}",
                "max_ratio",
                limits,
            )
        if self._hash is not None:
            self._hash.update(slab)
        return slab

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` as far as one piece reaches; 0 at the end."""
        slab = self.read_slab()
        used = min(len(slab), len(buffer))
        buffer[:used] = slab[:used]
        self._rest = slab[used:]
        return used

    def digest(self) -> str:
        """``sha256:<hex>`` of the compressed stream; call at the end."""
        return self._source.hash.digest()

    def diff_id(self) -> str:
        """``sha256:<hex>`` of the uncompressed stream; call at the end."""
        return self.digest() if self._hash is None else self._hash.digest()

    def close(self) -> None:
        """End the hashing threads; the stream itself stays open, it is the caller's."""
        self._source.hash.close()
        if self._hash is not None:
            self._hash.close()
        super().close()

    def _inflate(self) -> bytes:
        try:
            return self._reader.read(SLAB_BYTES)
        except EOFError as error:
            raise refuse_layer(
                self._layer,
                f"the {self.kind} stream ends too early, after {self._source.size} bytes",
            ) from error
        except _DAMAGE as error:
            if "memory" in str(error).lower():
                raise refuse_excess(
                    self._layer,
                    f"its {self.kind} stream wants too large a window",
                    "max_window_bytes",
                    self._limits,
                ) from error
            raise refuse_layer(
                self._layer,
                f"the {self.kind} stream is damaged near byte {self._source.size}: {error}",
            ) from error


def open_inflated(stream: BinaryIO, *, layer: str, limits: Limits = DEFAULT_LIMITS) -> Inflated:
    """Open a layer's stream for reading as a plain tar.

    Args:
        stream: read from where it stands to its end; not closed.
        layer: what error messages call the layer.
        limits: bounds on growth and memory.

    Raises:
        OSError: the stream cannot be read.
    """
    return Inflated(stream, layer=layer, limits=limits)


class _Source:
    """The compressed stream: counted, hashed, with its first bytes looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead = b""
        self.size = 0
        self.hash = StreamHash()

    def peek(self) -> bytes:
        while len(self._ahead) < _MAGIC_BYTES and (data := self._next(_INPUT_BYTES)):
            self._ahead += data
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._next(size)

    def readinto(self, buffer: memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        data = self._stream.read(size)
        if data:
            self.size += len(data)
            self.hash.update(data)
        return data


class _ZstdReader:
    """All frames of a zstd stream.

    The library says nothing when its input stops inside a frame. So one more frame, whose content
    nobody else can know, follows the stream: it comes out last only if all before it was whole.
    """

    def __init__(self, source: _Source, limits: Limits) -> None:
        self._mark = secrets.token_bytes(16)
        self._held = b""
        self._ended = False
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        decompressor = zstandard.ZstdDecompressor(max_window_size=limits.max_window_bytes)
        self._frames = decompressor.stream_reader(
            cast("IO[bytes]", _Followed(source, compressor.compress(self._mark))),
            read_size=_INPUT_BYTES,
            read_across_frames=True,
        )

    def read(self, size: int, /) -> bytes:
        while not self._ended:
            data = self._frames.read(size)
            if len(data) >= len(self._mark):
                data, self._held = self._held, data
                if data:
                    return data
            elif data:
                self._held += data
            else:
                self._ended = True
                if not self._held.endswith(self._mark):
                    raise EOFError
                return self._held[: -len(self._mark)]
        return b""


class _Followed(io.RawIOBase):
    """A stream with some more bytes after its end."""

    def __init__(self, source: _Source, more: bytes) -> None:
        super().__init__()
        self._source = source
        self._more = more

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        if not data:
            data, self._more = self._more[:size], self._more[size:]
        return data


class _StreamsReader:
    """All streams of an xz or bzip2 file, one decoder each."""

    def __init__(self, source: _Source, decoder: Callable[[], _Decoder]) -> None:
        self._source = source
        self._new_decoder = decoder
        self._decoder = decoder()
        self._input = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decoder.eof:
                # xz pads between and after streams with zeros; both end when nothing follows.
                following = self._decoder.unused_data.lstrip(b"\0")
                while not following:
                    following = self._source.read(_INPUT_BYTES)
                    if not following:
                        return b""
                    following = following.lstrip(b"\0")
                self._decoder = self._new_decoder()
                self._input = following
            elif self._decoder.needs_input and not self._input:
                self._input = self._source.read(_INPUT_BYTES)
                if not self._input:
                    raise EOFError
            try:
                data = self._decoder.decompress(self._input, size)
            except OSError as error:  # bz2 has no error class of its own
                raise lzma.LZMAError(str(error)) from error
            self._input = b""
            if data:
                return data


def _detect(head: bytes) -> str:
    for kind, magic in _MAGIC:
        if head.startswith(magic):
            return kind
    # A tar may begin with a file named BZh...: bzip2 needs its block magic too.
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        return "bzip2"
    return "plain"


_MAGIC = (
    ("gzip", b"\x1f\x8b"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    *(("zstd", bytes((low, 0x2A, 0x4D, 0x18))) for low in range(0x50, 0x60)),
    ("xz", b"\xfd7zXZ\0"),
)
_READERS: dict[str, Callable[[_Source, Limits], _Reader]] = {
    "gzip": lambda source, _limits: _open_gzip(fileobj=source, mode="rb"),
    "zstd": _ZstdReader,
    "xz": lambda source, limits: _StreamsReader(
        source, lambda: lzma.LZMADecompressor(memlimit=limits.max_window_bytes)
    ),
    "bzip2": lambda source, _limits: _StreamsReader(source, bz2.BZ2Decompressor),
    "plain": lambda source, _limits: source,
}
