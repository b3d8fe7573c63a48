"""Whatever compressed a layer, its tar and both digests come out the same."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import threading
from collections.abc import Iterator

import pytest
import zstandard

from sampan.images.inflate import open_inflated
from sampan.images.limits import LayerError, Limits
from sampan.images.readahead import ReadAhead

PLAIN = random.Random(1).randbytes(300_000) + bytes(2_000_000) + b"text " * 100_000
SKIPPABLE = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"notes"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


HALVES = PLAIN[:1_000_000], PLAIN[1_000_000:]
STREAMS = {
    "plain": PLAIN,
    "gzip": gzip.compress(PLAIN),
    "gzip of two members": b"".join(map(gzip.compress, HALVES)),
    "gzip of many members": b"".join(
        gzip.compress(PLAIN[i : i + 1000], 1) for i in range(0, len(PLAIN), 1000)
    ),
    "gzip padded with zeros": gzip.compress(PLAIN) + bytes(1000),
    "zstd": zstd(PLAIN),
    "zstd of two frames": b"".join(map(zstd, HALVES)),
    "zstd with skippable frames": SKIPPABLE + zstd(HALVES[0]) + SKIPPABLE + zstd(HALVES[1]),
    "zstd of unknown size": zstandard.ZstdCompressor().compressobj().compress(PLAIN[:0])
    + zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN),
    "xz": lzma.compress(PLAIN, preset=0),
    "xz of two streams, padded": bytes(8).join(lzma.compress(half, preset=0) for half in HALVES)
    + bytes(4),
    "bzip2": bz2.compress(PLAIN, 1),
    "bzip2 of two streams": b"".join(bz2.compress(half, 1) for half in HALVES),
}


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Dripping(io.RawIOBase):
    """A stream that gives little at a time, as sockets and pipes do."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._sizes = self._some_sizes()

    @staticmethod
    def _some_sizes() -> Iterator[int]:
        yield from (1, 1, 2, 3)
        while True:
            yield 7777

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(min(next(self._sizes), size))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("open_stream", [io.BytesIO, Dripping])
def test_a_stream_comes_out_whole_with_its_digests(
    name: str, open_stream: type[io.BytesIO | Dripping]
) -> None:
    data = STREAMS[name]
    with open_inflated(open_stream(data), layer="test") as inflated:  # type: ignore[arg-type]
        assert inflated.kind == name.split(maxsplit=1)[0]
        assert inflated.readall() == PLAIN
        assert inflated.size == len(PLAIN)
        assert inflated.compressed_size == len(data)
        assert inflated.digest() == sha256(data)
        assert inflated.diff_id() == sha256(PLAIN)


def test_small_reads_lose_nothing() -> None:
    with open_inflated(io.BytesIO(STREAMS["zstd"]), layer="test") as inflated:
        parts = []
        while part := inflated.read(99_991):
            parts.append(part)
    assert b"".join(parts) == PLAIN


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "plain"])
def test_no_truncation_goes_unnoticed(name: str) -> None:
    data = STREAMS[name].rstrip(b"\0")
    # Whole members are a whole stream: cut where none ends.
    for cut in (1, 2, 9, 30):
        with (
            open_inflated(io.BytesIO(data[:-cut]), layer="the layer") as inflated,
            pytest.raises(LayerError, match=r"ends too early|is damaged") as caught,
        ):
            inflated.readall()
        assert "the layer" in caught.value.evidence


def test_a_tar_whose_first_name_looks_like_bzip2_is_plain() -> None:
    with open_inflated(io.BytesIO(b"BZhang/readme" + bytes(600)), layer="test") as inflated:
        assert inflated.kind == "plain"


@pytest.mark.parametrize("kind", ["zstd", "xz"])
def test_a_window_beyond_the_limit_is_refused(kind: str) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=26)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    wide = {
        "zstd": compressor.compress(PLAIN) + compressor.flush(),
        "xz": lzma.compress(
            PLAIN, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 26}]
        ),
    }
    limits = Limits(max_window_bytes=1 << 24)
    with (
        open_inflated(io.BytesIO(wide[kind]), layer="test", limits=limits) as inflated,
        pytest.raises(LayerError, match="max_window_bytes"),
    ):
        inflated.readall()
    with open_inflated(io.BytesIO(wide[kind]), layer="test") as inflated:
        assert inflated.readall() == PLAIN


def test_reading_ahead_gives_the_same_and_stops_when_nobody_wants_more() -> None:
    with open_inflated(io.BytesIO(STREAMS["gzip"]), layer="test") as inflated:
        with ReadAhead(inflated) as ahead:
            slabs = list(iter(ahead.read_slab, b""))
            assert ahead.read_slab() == b""
        assert b"".join(slabs) == PLAIN
    with open_inflated(io.BytesIO(bytes(100 << 20)), layer="test") as inflated:
        with ReadAhead(inflated) as ahead:
            ahead.read_slab()
        assert inflated.size < 50 << 20


def test_a_source_that_is_stuck_does_not_hold_up_who_gives_up() -> None:
    class Stuck:
        def __init__(self) -> None:
            self.released = threading.Event()

        def read_slab(self) -> bytes:
            self.released.wait()
            return b""

    source = Stuck()
    with pytest.raises(KeyboardInterrupt), ReadAhead(source, patience_s=0.05):
        raise KeyboardInterrupt
    assert not source.released.is_set()
    source.released.set()


def test_a_source_that_can_be_interrupted_is_when_somebody_gives_up() -> None:
    class Waiting:
        def __init__(self) -> None:
            self.released = threading.Event()

        def read_slab(self) -> bytes:
            self.released.wait()
            return b""

    source = Waiting()
    with pytest.raises(KeyboardInterrupt), ReadAhead(source, interrupt=source.released.set):
        raise KeyboardInterrupt
    assert source.released.is_set()
