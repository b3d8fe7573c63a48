"""A packed layer gives back the very tar that it was made of."""

import gzip
import io
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.images.header_log import HeaderLog, Run, read_runs
from sampan.images.layer_tar import LayerMissingError, LayerTar, locate_layer
from sampan.images.limits import DEFAULT_LIMITS
from sampan.images.pack_file import PackError
from sampan.images.packs import PackTask, pack_task
from sampan.images.prune import PruneOptions, prune
from sampan.images.sources.layer import FileLayer
from sampan.images.store_access import create_store
from sampan.images.store_layout import StoreLayout
from sampan.model.layer import BLOCK_SIZE
from support.layouts import sha256
from support.tars import END, Packed, gnu_long, header, member, padded, pax

NOISE = random.Random(3).randbytes(3 * BLOCK_SIZE)
NAMES = st.sampled_from([b"a", b"b", b"d/c", b"d/.wh.x", b"d/.wh..wh..opq", b".wh.b", b"e" * 99])
SIZES = st.one_of(
    st.integers(0, 1500),
    st.sampled_from([BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 8 * BLOCK_SIZE + 7]),
)


def sparse(name: bytes, size: int, segments: list[tuple[int, bytes]]) -> bytes:
    numbers = b"%d\n" % len(segments)
    numbers += b"".join(b"%d\n%d\n" % (at, len(data)) for at, data in segments)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    return pax(records) + member(b"x", padded(numbers) + b"".join(data for _, data in segments))


@st.composite
def pieces(draw: Any) -> bytes:
    """One entry of a layer, whole, in one of many dialects and with odd bytes around it."""
    name = draw(NAMES)
    kind = draw(st.sampled_from(["file", "file", "file", "sparse", "dir", "link", "pax", "long", "dup"]))  # fmt: skip
    if kind == "sparse":
        gaps = draw(
            st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 70_000)), max_size=4)
        )
        at, segments = 0, []
        for gap, length in gaps:
            segments.append((at + gap, (NOISE * 2)[gap % 1000 :][:length]))
            at += gap + length
        return sparse(b"s", at + draw(st.integers(0, 9)), segments)
    if kind == "dir":
        return member(b"d/", kind=b"5")
    if kind == "link":
        return member(b"l", kind=b"2", link=b"to", patches={500: b"left over"})
    content = (NOISE * 3)[draw(st.integers(0, 5)) :][: draw(SIZES)]
    if draw(st.booleans()):
        content = bytes(len(content))
    before = b""
    if kind == "pax":
        before = pax([(b"SCHILY.xattr.trusted.overlay.x", b"dropped"), (b"comment", b"kept")])
    if kind == "long":
        before = gnu_long(b"L", b"n" * 200)
    odd = draw(st.binary(max_size=3))
    head = header(name, size=len(content), patches={508: odd})
    padding = bytes(-len(content) % 512)
    if draw(st.booleans()) and padding:
        padding = b"?" * len(padding)
    return before + (head + content + padding) * (2 if kind == "dup" else 1)


@given(st.lists(pieces(), min_size=1, max_size=8), st.sampled_from([END, b"", bytes(512), bytes(99 * 512)]))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_every_tar_comes_back_byte_by_byte(parts: list[bytes], end: bytes) -> None:
    tar = b"".join(parts) + end
    with TemporaryDirectory() as directory:
        assert Packed(Path(directory), tar, workers=1).tar_again() == tar


def test_a_file_that_the_layer_itself_replaces_comes_back_too(tmp_path: Path) -> None:
    tar = member(b"f", b"first") + member(b"f", NOISE) + member(b"f", kind=b"5") + END
    assert Packed(tmp_path, tar).tar_again() == tar


def test_content_that_layers_leave_out_is_kept_for_the_tar(tmp_path: Path) -> None:
    tar = member(b".wh.gone", b"a whiteout with content") + member(b"d", b"dumped", kind=b"D") + END
    packed = Packed(tmp_path, tar)
    assert packed.index.contents == []
    assert packed.tar_again() == tar


def test_a_tar_of_many_entries_is_kept_in_several_chunks(tmp_path: Path) -> None:
    tar = b"".join(member(b"f%d" % n, b"x" * (n % 7)) for n in range(20_000)) + END
    packed = Packed(tmp_path, tar)
    assert packed.tar_again() == tar
    size = packed.index_path.with_suffix(".headers").stat().st_size
    assert size < len(tar) / 50


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(-1, 3), st.integers(0, 9)), max_size=30))  # fmt: skip
def test_runs_are_read_as_they_were_noted(noted: list[tuple[bytes, int, int]]) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "headers")
        with path.open("wb") as stream:
            log = HeaderLog(stream)
            for literal, entry, offset in noted:
                log.add_literal(literal)
                if entry >= 0:
                    log.add_content(entry, offset, 5)
            log.finish()
        found = list(read_runs(path))
    assert b"".join(run.literal for run in found) == b"".join(literal for literal, *_ in noted)
    parts = sum(run.size for run in found if run.entry >= 0)
    assert parts == 5 * sum(entry >= 0 for _, entry, _ in noted)


def test_parts_that_follow_one_another_are_one_run(tmp_path: Path) -> None:
    with (tmp_path / "h").open("wb") as stream:
        log = HeaderLog(stream)
        log.add_literal(b"head")
        log.add_content(0, 0, 10)
        log.add_content(0, 10, 10)
        log.add_content(0, 30, 1)
        log.finish()
    assert list(read_runs(tmp_path / "h")) == [Run(b"head", 0, 0, 20), Run(b"", 0, 30, 1)]


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_damaged_headers_are_refused(damage: str, tmp_path: Path) -> None:
    packed = Packed(tmp_path, member(b"f", b"content") + END)
    path = packed.index_path.with_suffix(".headers")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-5]
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
    else:
        content[:4] = b"oops"
    path.write_bytes(content)
    with pytest.raises(PackError):
        packed.tar_again()


def test_headers_of_another_layer_are_noticed_at_the_end(tmp_path: Path) -> None:
    one = Packed(tmp_path / "1", member(b"f", b"content") + END)
    two = Packed(tmp_path / "2", member(b"g", b"content") + END)
    other = two.index_path.with_suffix(".headers").read_bytes()
    one.index_path.with_suffix(".headers").write_bytes(other)
    with pytest.raises(PackError, match="does not give back"):
        one.tar_again()


class StoreWithLayer:
    def __init__(self, root: Path) -> None:
        self.layout = StoreLayout(str(root / "store"))
        create_store(self.layout)
        self.tar = member(b"f", b"content") + END
        layer = gzip.compress(self.tar)
        (root / "layer").write_bytes(layer)
        self.digest, self.diff_id = sha256(layer), sha256(self.tar)
        self.task = PackTask(
            self.layout,
            "zstd",
            FileLayer("l", self.digest, self.diff_id, len(layer), str(root / "layer")),
            DEFAULT_LIMITS,
            1,
        )
        pack_task(self.task, lambda _: None)

    def locate(self) -> Any:
        return locate_layer(self.layout, "zstd", self.digest, self.diff_id, image="some/image:1")


def test_a_layer_of_the_store_is_given_out(tmp_path: Path) -> None:
    store = StoreWithLayer(tmp_path)
    with store.locate().open() as stream:
        assert stream.read() == store.tar


def test_a_layer_that_came_without_a_digest_is_given_out(tmp_path: Path) -> None:
    store = StoreWithLayer(tmp_path)
    (tmp_path / "plain").write_bytes(b"".join([member(b"g", b"other"), END]))
    layer = FileLayer("l", "", "", (tmp_path / "plain").stat().st_size, str(tmp_path / "plain"))
    digest = pack_task(store.task._replace(layer=layer), lambda _: None)
    with locate_layer(store.layout, "zstd", digest, digest, image="i").open() as stream:
        assert stream.read() == (tmp_path / "plain").read_bytes()


def test_a_pack_without_headers_is_a_refusal_that_says_how_to_get_them(tmp_path: Path) -> None:
    store = StoreWithLayer(tmp_path)
    Path(store.layout.pack_file("zstd", store.digest, "headers")).unlink()
    with pytest.raises(LayerMissingError) as caught:
        store.locate()
    assert "prune --all" in caught.value.remedy
    assert "sampan pull some/image:1" in caught.value.remedy


def test_a_prune_takes_the_headers_with_the_pack(tmp_path: Path) -> None:
    store = StoreWithLayer(tmp_path)
    (freed,) = prune(store.layout, PruneOptions(all_packs=True), in_use=set(), now=2e10)
    assert freed.kind == "pack"
    assert list(Path(store.layout.packs("zstd")).iterdir()) == []
    with pytest.raises(LayerMissingError, match="pruned"):
        store.locate()


def test_reading_stops_where_the_reader_does(tmp_path: Path) -> None:
    packed = Packed(tmp_path, member(b"f", NOISE) + END)
    stream = io.BufferedReader(LayerTar(packed.index_path))
    assert stream.read(700)[512:] == NOISE[:188]
    stream.close()
    stream.close()
