"""What a pack holds of the files of a layer, and that nothing else decides it."""

import gzip
import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.errors import UsageError
from sampan.images.pack import pack_layer
from sampan.images.pack_file import PackData
from sampan.model.layer import BLOCK_SIZE, NO_FRAGMENT, UNCOMPRESSED
from support.tars import END, Packed, header, member, padded, pax, python_tar

RANDOM = random.Random(7)
NOISE = RANDOM.randbytes(3 * BLOCK_SIZE)
TEXT = b"the quick brown fox jumps over the lazy dog\n" * 100_000


def sparse(name: bytes, size: int, *segments: tuple[int, bytes]) -> bytes:
    numbers = b"%d\n" % len(segments)
    numbers += b"".join(b"%d\n%d\n" % (start, len(data)) for start, data in segments)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    return pax(records) + member(b"x", padded(numbers) + b"".join(data for _, data in segments))


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
@pytest.mark.parametrize(
    "size",
    [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 8 * BLOCK_SIZE, 17 * BLOCK_SIZE + 12345],
)
def test_a_file_comes_back_as_it_went_in(tmp_path: Path, compression: str, size: int) -> None:
    content = (NOISE + TEXT)[:size]
    packed = Packed(tmp_path, python_tar(("dir/f", content)), compression=compression)
    assert packed.index.compression == compression
    assert packed.read(b"dir/f") == content


def test_the_index_tells_what_was_packed(tmp_path: Path) -> None:
    tar = python_tar(("a", b"1"), ("b", NOISE))
    layer = gzip.compress(tar)
    packed = Packed(
        tmp_path,
        layer,
        expected_digest=f"sha256:{hashlib.sha256(layer).hexdigest()}",
        expected_diff_id=f"sha256:{hashlib.sha256(tar).hexdigest()}",
    )
    index = packed.index
    assert index.digest == f"sha256:{hashlib.sha256(layer).hexdigest()}"
    assert index.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"
    assert index.tar_size == len(tar)
    assert index.data_size == packed.data_path.stat().st_size
    assert [entry.path for entry in index.entries] == [b"a", b"b"]
    assert sorted(os.listdir(tmp_path)) == ["layer.headers", "layer.index", "layer.pack"]


def test_blocks_are_stored_raw_where_compression_does_not_pay(tmp_path: Path) -> None:
    index = Packed(tmp_path, python_tar(("noise", NOISE), ("text", TEXT[:BLOCK_SIZE]))).index
    noise, text = index.contents
    assert noise.blocks == (BLOCK_SIZE | UNCOMPRESSED,) * 3
    assert noise.fragment == text.fragment == NO_FRAGMENT
    assert 0 < text.blocks[0] < BLOCK_SIZE // 10


def test_small_files_share_blocks(tmp_path: Path) -> None:
    files = [(f"f{i}", RANDOM.randbytes(50_000)) for i in range(5)]
    packed = Packed(tmp_path, python_tar(*files))
    assert [content.fragment for content in packed.index.contents] == [0, 0, 1, 1, 2]
    assert [content.fragment_offset for content in packed.index.contents][:2] == [0, 50_000]
    assert len(packed.index.fragments) == 3
    for name, content in files:
        assert packed.read(name.encode()) == content


def test_equal_files_are_stored_once(tmp_path: Path) -> None:
    big, other = NOISE + b"end", NOISE[:-1] + b"!end"
    files = [
        ("a", b"small"),
        ("b", big),
        ("c", b"small"),
        ("d", big),
        ("e", other),
        ("f", big),
        ("g", b""),
        ("h", b""),
    ]
    packed = Packed(tmp_path, python_tar(*files))
    assert [entry.content for entry in packed.index.entries] == [0, 1, 0, 1, 2, 1, 3, 3]
    assert len(packed.index.contents) == 4
    assert packed.index.data_size < len(big) + len(other) + 1000
    for name, content in files:
        assert packed.read(name.encode()) == content


def test_equal_files_in_two_layers_have_one_digest(tmp_path: Path) -> None:
    one = Packed(tmp_path / "1", python_tar(("a", TEXT), ("b", b"x")))
    two = Packed(tmp_path / "2", python_tar(("x", NOISE), ("y", b"x"), ("z", TEXT)))
    assert one.index.contents[0].digest == two.index.contents[2].digest
    assert one.index.contents[1].digest == two.index.contents[1].digest
    assert one.index.contents[0].blocks == two.index.contents[2].blocks


def test_zeros_take_no_room(tmp_path: Path) -> None:
    content = bytes(20 * BLOCK_SIZE) + b"x" + bytes(5 * BLOCK_SIZE)
    packed = Packed(tmp_path, python_tar(("z", content)))
    (stored,) = packed.index.contents
    assert len(stored.blocks) == 26
    assert [at for at, word in enumerate(stored.blocks) if word] == [20]
    assert packed.index.data_size < 1000
    assert packed.read(b"z") == content


@pytest.mark.parametrize("size", [1000, BLOCK_SIZE, 5_000_000])
def test_a_hole_and_the_zeros_it_means_are_one_content(tmp_path: Path, size: int) -> None:
    plain = b"head" + bytes(size - 8) + b"tail"
    tar = sparse(b"s", size, (0, b"head"), (size - 4, b"tail")) + member(b"p", plain) + END
    packed = Packed(tmp_path, tar)
    assert packed.entries[b"s"].content == packed.entries[b"p"].content
    assert packed.read(b"s") == plain


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_sparse_files_come_back_filled(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, 3_500_000))
    cuts = sorted(data.draw(st.sets(st.integers(0, size), max_size=12)))
    segments = [
        (start, RANDOM.randbytes(end - start))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    whole = bytearray(size)
    for start, content in segments:
        whole[start : start + len(content)] = content
    packed = Packed(tmp_path_factory.mktemp("sparse"), sparse(b"s", size, *segments) + END)
    assert packed.read(b"s") == bytes(whole)


def test_a_tebibyte_of_holes_is_packed_as_numbers(tmp_path: Path) -> None:
    size = (1 << 40) + 5
    packed = Packed(tmp_path, sparse(b"s", size, (1 << 39, b"middle"), (size - 3, b"end")) + END)
    (content,) = packed.index.contents
    assert content.size == size
    assert len(content.blocks) == (1 << 23) + 1
    assert content.blocks[1 << 22] != 0
    assert content.blocks.count(0) == (1 << 23) - 1
    with PackData(packed.index, packed.data_path) as data:
        assert data.read_content(content, size - 6, 100) == b"\0\0\0end"
        assert data.read_content(content, (1 << 39) - 1, 8) == b"\0middle\0"
    assert packed.index_path.stat().st_size < 1 << 20


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_the_same_layer_gives_the_same_bytes_whatever_the_number_of_threads(
    tmp_path: Path, compression: str
) -> None:
    files = [(f"small{i}", RANDOM.randbytes(i * 300)) for i in range(200)]
    files += [(f"big{i}", (TEXT + NOISE)[i * 1000 :]) for i in range(4)] * 2
    layer = python_tar(*files)
    first, *others = [
        Packed(tmp_path / str(workers), layer, compression=compression, workers=workers)
        for workers in (1, 2, 7)
    ]
    for other in others:
        assert other.data_path.read_bytes() == first.data_path.read_bytes()
        assert other.index_path.read_bytes() == first.index_path.read_bytes()


def test_a_layer_recompressed_differs_only_by_its_digest(tmp_path: Path) -> None:
    tar = python_tar(("a", TEXT), ("b", b"x"))
    plain = Packed(tmp_path / "1", tar)
    zstd = Packed(tmp_path / "2", zstandard.ZstdCompressor().compress(tar))
    assert plain.data_path.read_bytes() == zstd.data_path.read_bytes()
    assert plain.index._replace(digest=zstd.index.digest) == zstd.index


class Endless(io.RawIOBase):
    """A tar with one large file of text that nobody ever holds in memory."""

    def __init__(self, repeats: int) -> None:
        super().__init__()
        self._head = header(b"big", size=repeats * len(TEXT))
        self._left = repeats

    def read(self, size: int = -1, /) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        self._left -= 1
        return TEXT if self._left >= 0 else b""


def peak_bytes() -> int:
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) << 10


def test_memory_does_not_grow_with_the_layer(tmp_path: Path) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    index = pack_layer(
        cast("BinaryIO", Endless(250)),
        tmp_path / "p",
        tmp_path / "i",
        layer="test",
        expected_digest=None,
        expected_diff_id=None,
        workers=2,
    )
    assert index.contents[0].size > 1_000_000_000
    assert peak_bytes() - before < 150_000_000


def test_progress_tells_the_bytes_read_and_ends_with_all(tmp_path: Path) -> None:
    seen: list[int] = []
    layer = gzip.compress(python_tar(("a", NOISE * 10)))
    Packed(tmp_path, layer, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(layer)


def test_an_unknown_compression_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lzma"):
        Packed(tmp_path, python_tar(), compression="lzma")
    assert list(tmp_path.iterdir()) == []


def test_a_pack_replaces_the_one_before(tmp_path: Path) -> None:
    Packed(tmp_path, python_tar(("a", NOISE)))
    packed = Packed(tmp_path, python_tar(("b", b"new")))
    assert packed.read(b"b") == b"new"


def test_a_failing_callback_stops_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(_done: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Packed(tmp_path, python_tar(("a", NOISE * 20)), progress=fail)
    assert list(tmp_path.iterdir()) == []
