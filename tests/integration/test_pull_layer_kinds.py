"""Layers of all kinds that registries hold, whatever their media type claims."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from sampan.engines.pull import PullOptions, pull_image
from sampan.images.limits import LayerError
from sampan.images.pack_file import PackData, load_index
from sampan.images.store_layout import StoreLayout
from sampan.model.source import SourceError
from support.layouts import OCI_MANIFEST, LayoutMaker, make_tar, named
from support.registries import IMPATIENT, Front, front, layout_backend

pytestmark = pytest.mark.integration

FILES: dict[str, bytes | None] = {"etc": None, "etc/hello": b"hello", "big": bytes(300_000) + b"x"}
TAR = make_tar(FILES)


def estargz(tar: bytes) -> bytes:
    """A gzip member each few blocks, and the footer: an empty member with an extra field.

    stargz-snapshotter, docs/estargz.md; the extra field is ``SG``, its length, 16 digits, STARGZ.
    """
    members = [gzip.compress(tar[at : at + 4096], mtime=0) for at in range(0, len(tar), 4096)]
    extra = b"SG" + struct.pack("<H", 22) + b"%016x" % 1234 + b"STARGZ"
    header = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", len(extra)) + extra
    empty = zlib.compressobj(0, zlib.DEFLATED, -15).flush()
    footer = header + empty + bytes(8)
    assert len(footer) == 51
    return b"".join(members) + footer


def skippable(content: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, len(content)) + content


def zstd_chunked(tar: bytes) -> bytes:
    """A frame each few blocks, then manifest and footer in skippable frames (containers/storage)."""
    frames = [zstandard.compress(tar[at : at + 4096]) for at in range(0, len(tar), 4096)]
    table = zstandard.compress(json.dumps({"version": 1, "entries": []}).encode())
    footer = struct.pack("<6Q", 1, 2, 3, 1, 5, 6) + b"GNUlInUx" + bytes(8)
    return b"".join(frames) + skippable(table) + skippable(footer)


KINDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, "+gzip"),
    "zstd": (zstandard.compress, "+zstd"),
    "plain": (bytes, ""),
    "estargz": (estargz, "+gzip"),
    "zstd-chunked": (zstd_chunked, "+zstd"),
    "zstd that claims to be gzip": (zstandard.compress, "+gzip"),
    "zstd after a skippable frame": (
        lambda tar: skippable(b"first") + zstandard.compress(tar),
        "+zstd",
    ),
}


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "store"))


@pytest.fixture
def layout(tmp_path: Path) -> LayoutMaker:
    return LayoutMaker(tmp_path / "layout")


@pytest.fixture
def registry(layout: LayoutMaker) -> Iterator[Front]:
    with front(layout_backend(layout.root)) as served:
        yield served


def pull(registry: Front, store: StoreLayout) -> str:
    return pull_image(
        f"{registry.host}/a:v1",
        store=store,
        environment={"HOME": "/nonexistent"},
        options=PullOptions(settings=IMPATIENT),
    ).digest


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_gives_the_same_files(
    registry: Front, layout: LayoutMaker, store: StoreLayout, kind: str
) -> None:
    compress, ending = KINDS[kind]
    layout.write_index([named(layout.add_image([TAR], compress=compress, ending=ending), "v1")])
    pull(registry, store)
    (path,) = Path(store.packs("zstd")).glob("*.index")
    pack = load_index(path)
    found = {entry.path: entry.content for entry in pack.entries}
    assert set(found) == {name.encode() for name in FILES}
    with PackData(pack, path.with_suffix(".pack")) as data:
        assert data.read_content(pack.contents[found[b"big"]]) == FILES["big"]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "estargz", "zstd-chunked"])
def test_garbage_in_the_middle_is_refused_whatever_the_kind(
    registry: Front, layout: LayoutMaker, store: StoreLayout, kind: str
) -> None:
    compress, ending = KINDS[kind]
    entry = layout.add_image([TAR], compress=compress, ending=ending)
    layout.write_index([named(entry, "v1")])
    manifest = json.loads(layout.blob_path(entry["digest"]).read_bytes())
    blob = layout.blob_path(manifest["layers"][0]["digest"])
    content = bytearray(blob.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = b"garbage in the midst"
    blob.write_bytes(content)
    with pytest.raises(LayerError):
        pull(registry, store)
    assert list(Path(store.root).rglob("*.index")) == []
    assert list(Path(store.root).rglob(".tmp-*")) == []


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.cncf.helm.chart.content.v1.tar+gzip", "application/vnd.in-toto+json"],
)
def test_what_is_no_file_system_is_refused_with_its_type(
    registry: Front, layout: LayoutMaker, store: StoreLayout, media_type: str
) -> None:
    layout.write_index([named(layout.add_image([TAR], layer_type=media_type), "v1")])
    with pytest.raises(SourceError, match="not a container image") as raised:
        pull(registry, store)
    assert media_type in raised.value.evidence
    assert OCI_MANIFEST not in raised.value.evidence
    assert len(registry.paths("/blobs/")) == 0
