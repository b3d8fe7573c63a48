"""What is kept of a layer that comes slowly, and what the next pull makes of it."""

import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pytest

from sampan.images import partial
from sampan.images.limits import DEFAULT_LIMITS, LayerError
from sampan.images.packs import PackTask, find_pack, pack_task
from sampan.images.partial import KeptStream, list_partials, sweep_partials
from sampan.images.prune import PruneOptions, prune
from sampan.images.store_access import create_store
from sampan.images.store_layout import StoreLayout
from support.layouts import make_tar, sha256

CONTENT = make_tar({"noise": random.Random(1).randbytes(1 << 20)})
PIECE = 64 << 10


class Wire:
    """A network that takes so many seconds for a mebibyte, on a clock of its own."""

    def __init__(self, content: bytes = CONTENT, *, seconds_per_mebibyte: float = 100.0) -> None:
        self.content = content
        self.now = 0.0
        self.asked: list[tuple[int, int]] = []
        self._pace = seconds_per_mebibyte / (1 << 20)

    def stream(self, first: int, end: int) -> BinaryIO:
        self.asked.append((first, end))
        wire, rest = self, io.BytesIO(self.content[first:end])

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                data = rest.read(min(size or -1, PIECE))
                wire.now += len(data) * wire._pace
                return data

        return Slow()


class Layer(NamedTuple):
    wire: Wire
    digest: str = sha256(CONTENT)
    label: str = "a layer"
    diff_id: str = ""
    size: int = len(CONTENT)
    is_portable: bool = True

    def open(self) -> BinaryIO:
        return self.open_part(0, self.size, memory=0)

    def open_part(self, first: int, end: int, *, memory: int) -> BinaryIO:
        return self.wire.stream(first, end)


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    layout = StoreLayout(str(tmp_path / "store"))
    create_store(layout)
    return layout


def read(store: StoreLayout, layer: Layer, most: int = len(CONTENT)) -> bytes:
    """Read so much and be killed, as far as a store can tell."""
    done = b""
    with KeptStream(store, layer, memory=0, clock=lambda: layer.wire.now) as stream:
        while len(done) < most and (data := stream.read(PIECE)):
            done += data
    return done


def kept(store: StoreLayout) -> list[tuple[int, int]]:
    """(offset, bytes) of each file."""
    return [(int(path.rpartition(".")[2]), os.path.getsize(path)) for path in list_partials(store)]


def test_of_a_quick_layer_nothing_is_kept(store: StoreLayout) -> None:
    assert read(store, Layer(Wire(seconds_per_mebibyte=10)), most=len(CONTENT) // 2)
    assert kept(store) == []


def test_a_slow_layer_is_kept_from_where_it_was_known_to_be_slow(store: StoreLayout) -> None:
    read(store, Layer(Wire()), most=8 * PIECE)
    assert kept(store) == [(0, 8 * PIECE)]


def test_the_next_pull_asks_for_the_rest_only_and_keeps_on_keeping(store: StoreLayout) -> None:
    read(store, Layer(Wire()), most=8 * PIECE)
    layer = Layer(Wire())
    assert read(store, layer, most=12 * PIECE) == CONTENT[: 12 * PIECE]
    assert layer.wire.asked == [(8 * PIECE, len(CONTENT))]
    assert kept(store) == [(0, 12 * PIECE)]
    last = Layer(Wire())
    assert read(store, last) == CONTENT
    assert last.wire.asked == [(12 * PIECE, len(CONTENT))]


def test_what_came_before_the_link_became_slow_is_fetched_again(store: StoreLayout) -> None:
    path = Path(store.partials, f"{sha256(CONTENT)[7:]}.{3 * PIECE}")
    path.write_bytes(CONTENT[3 * PIECE : 5 * PIECE])
    layer = Layer(Wire())
    assert read(store, layer) == CONTENT
    assert layer.wire.asked == [(0, 3 * PIECE), (5 * PIECE, len(CONTENT))]


def test_a_layer_that_was_kept_to_its_end_needs_no_network(store: StoreLayout) -> None:
    Path(store.partials, f"{sha256(CONTENT)[7:]}.0").write_bytes(CONTENT)
    layer = Layer(Wire())
    assert read(store, layer) == CONTENT
    assert layer.wire.asked == []


@pytest.mark.parametrize("name", ["HEX.x", "HEX.-1", "HEX.", f"HEX.{len(CONTENT)}"])
def test_names_and_lengths_that_cannot_be_are_not_used(store: StoreLayout, name: str) -> None:
    path = Path(store.partials, name.replace("HEX", sha256(CONTENT)[7:]))
    path.write_bytes(b"more than the layer has")
    layer = Layer(Wire(seconds_per_mebibyte=0))
    assert read(store, layer) == CONTENT
    assert layer.wire.asked == [(0, len(CONTENT))]


def test_a_full_disk_ends_the_keeping_and_not_the_layer(
    store: StoreLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(partial.os, "write", full)
    assert read(store, Layer(Wire())) == CONTENT
    assert kept(store) == []


def pack(store: StoreLayout, layer: Layer) -> str:
    return pack_task(PackTask(store, "zstd", layer, DEFAULT_LIMITS, 1), lambda _: None)


def test_when_a_layer_is_packed_nothing_is_kept_any_more(store: StoreLayout) -> None:
    Path(store.partials, f"{sha256(CONTENT)[7:]}.0").write_bytes(CONTENT[:PIECE])
    layer = Layer(Wire(seconds_per_mebibyte=0))
    pack(store, layer)
    assert layer.wire.asked == [(PIECE, len(CONTENT))]
    assert kept(store) == []


@pytest.mark.parametrize("garbage", [bytes, lambda n: CONTENT[PIECE : PIECE + n], os.urandom])
def test_kept_garbage_costs_a_fetch_and_nothing_else(
    store: StoreLayout, garbage: Callable[[int], bytes]
) -> None:
    Path(store.partials, f"{sha256(CONTENT)[7:]}.0").write_bytes(garbage(PIECE))
    layer = Layer(Wire(seconds_per_mebibyte=0))
    assert pack(store, layer) == layer.digest
    # Garbage may be noticed before the rest is asked for, and is at the latest after it.
    *before, last = layer.wire.asked
    assert before in ([], [(PIECE, len(CONTENT))])
    assert last == (0, len(CONTENT))
    assert find_pack(store, "zstd", layer.digest, "")
    assert kept(store) == []


def test_a_layer_that_is_wrong_itself_is_fetched_once_and_not_kept(store: StoreLayout) -> None:
    layer = Layer(Wire(CONTENT[:-1] + b"x", seconds_per_mebibyte=0))
    with pytest.raises(LayerError):
        pack(store, layer)
    assert layer.wire.asked == [(0, len(CONTENT))]
    assert kept(store) == []


def test_what_is_kept_goes_with_a_prune_or_after_a_week(store: StoreLayout) -> None:
    for name in ("1" * 64, "2" * 64):
        Path(store.partials, f"{name}.0").write_bytes(b"kept")
    now = time.time()
    os.utime(Path(store.partials, "1" * 64 + ".0"), (0, now - 8 * 86400))
    sweep_partials(store, now)
    assert [os.path.basename(path)[:1] for path in list_partials(store)] == ["2"]
    freed = prune(store, PruneOptions(), in_use=set(), now=now)
    assert [item.kind for item in freed] == ["left-over"]
    assert kept(store) == []
