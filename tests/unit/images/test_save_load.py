"""What save writes, load takes; names, ids and layers survive."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from sampan.errors import UsageError
from sampan.images.catalogue import find_record, list_names
from sampan.images.layer_tar import LayerMissingError
from sampan.images.layout_writer import LayoutError
from sampan.images.loading import load_archive
from sampan.images.naming import tag_image
from sampan.images.saving import save_images
from sampan.images.store import ImageNotFoundError, find_image
from sampan.images.store_layout import StoreLayout
from sampan.model.source import SourceError
from sampan.model.transfer import TransferEvent
from support.layouts import sha256, write_docker_archive
from support.stores import BASE, TOPS, two_images


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    """Two images that share a layer, one of them with two names."""
    return two_images(tmp_path)


NAMES = ["one:1", "also.example/one:x", "nvcr.io/org/two:2"]


def save(store: StoreLayout, target: Path, **options: str) -> bytes:
    save_images(NAMES, str(target), store=store, **options)  # type: ignore[arg-type]
    return target.read_bytes()


@pytest.mark.parametrize(
    "options",
    [{}, {"form": "oci-archive"}, {"form": "oci-archive", "compression": "zstd"},
     {"form": "oci-archive", "compression": "none"}],
    ids=str,
)  # fmt: skip
def test_load_makes_the_same_images_under_the_same_names(
    options: dict[str, str], store: StoreLayout, tmp_path: Path
) -> None:
    save(store, tmp_path / "saved", **options)
    other = StoreLayout(str(tmp_path / "other"))
    loaded = load_archive(str(tmp_path / "saved"), store=other)
    assert sorted(name.reference.familiar for name in loaded) == sorted(NAMES)
    for name in NAMES:
        ours, theirs = find_image(name, store=store), find_image(name, store=other)
        assert ours is not None
        assert theirs is not None
        assert ours.digest == theirs.digest
        assert Path(ours.config_path).read_bytes() == Path(theirs.config_path).read_bytes()


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_the_same_images_make_the_same_bytes_and_shared_layers_stand_once(
    form: str, store: StoreLayout, tmp_path: Path
) -> None:
    first = save(store, tmp_path / "1", form=form)
    assert save(store, tmp_path / "2", form=form) == first
    members = tarfile.open(fileobj=io.BytesIO(first)).getnames()  # noqa: SIM115
    assert len(members) == len(set(members))
    if form == "docker-archive":
        assert sum(name.endswith(".tar") for name in members) == 3
        assert f"{sha256(BASE)[7:]}.tar" in members


def test_a_docker_archive_says_what_docker_reads(store: StoreLayout, tmp_path: Path) -> None:
    archive = tarfile.open(fileobj=io.BytesIO(save(store, tmp_path / "saved")))  # noqa: SIM115
    listed = archive.extractfile("manifest.json")
    assert listed is not None
    one, two = json.load(listed)
    assert one["RepoTags"] == ["docker.io/library/one:1", "also.example/one:x"]
    assert two["RepoTags"] == ["nvcr.io/org/two:2"]
    layer = archive.extractfile(one["Layers"][1])
    assert layer is not None
    assert layer.read() == TOPS[0]


def test_a_compressed_archive_is_loaded_too(store: StoreLayout, tmp_path: Path) -> None:
    (tmp_path / "saved.gz").write_bytes(gzip.compress(save(store, tmp_path / "saved")))
    other = StoreLayout(str(tmp_path / "other"))
    assert len(load_archive(str(tmp_path / "saved.gz"), store=other)) == 3


def test_what_was_loaded_can_be_saved_again(store: StoreLayout, tmp_path: Path) -> None:
    first = save(store, tmp_path / "saved")
    other = StoreLayout(str(tmp_path / "other"))
    load_archive(str(tmp_path / "saved"), store=other)
    assert save(other, tmp_path / "again") == first


def test_an_image_by_its_id_is_saved_without_a_name(store: StoreLayout, tmp_path: Path) -> None:
    image = find_image("one:1", store=store)
    assert image is not None
    target = str(tmp_path / "saved")
    save_images([image.digest], target, store=store)
    with pytest.raises(UsageError) as caught:
        load_archive(target, store=StoreLayout(str(tmp_path / "other")))
    assert f"sampan import docker-archive:{target} NAME" in caught.value.remedy


def test_a_pruned_layer_leaves_no_half_archive(store: StoreLayout, tmp_path: Path) -> None:
    image = find_image("one:1", store=store)
    assert image is not None
    record = find_record(store, image.digest)
    assert record is not None
    os.unlink(store.pack_file("zstd", record.layers[0].pack, "index"))
    with pytest.raises(LayerMissingError) as caught:
        save(store, tmp_path / "saved")
    assert "sampan pull one:1" in caught.value.remedy
    assert not (tmp_path / "saved").exists()


def test_plain_tars_cannot_be_compressed(store: StoreLayout, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain tars"):
        save(store, tmp_path / "saved", compression="zstd")


def test_an_output_that_cannot_be_written_is_a_refusal(store: StoreLayout, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="cannot write"):
        save(store, tmp_path / "no" / "such" / "place")


def test_progress_is_told_of_each_layer(store: StoreLayout, tmp_path: Path) -> None:
    events: list[TransferEvent] = []
    save_images(NAMES, str(tmp_path / "saved"), store=store, hear=events.append)
    assert [e.kind for e in events if e.kind != "sending"].count("sent") == 3


def test_docker_archives_of_others_are_loaded_whole(tmp_path: Path) -> None:
    archive = write_docker_archive(
        tmp_path / "a.tar", [BASE, TOPS[0]], names=("x:1", "y:2"), repeated_as_link=True
    )
    other = StoreLayout(str(tmp_path / "other"))
    loaded = load_archive(str(archive), store=other)
    assert [name.reference.familiar for name in loaded] == ["x:1", "y:2"]
    assert len(list_names(other)) == 2


def test_a_tar_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(BASE)
    with pytest.raises(SourceError):
        load_archive(str(tmp_path / "root.tar"), store=StoreLayout(str(tmp_path / "other")))


def test_a_tag_means_the_image_and_can_be_taken_over(store: StoreLayout) -> None:
    tag_image(store, "one:1", ["new:1", "nvcr.io/org/two:2"])
    one = find_image("one:1", store=store)
    assert one is not None
    for name in ("new:1", "nvcr.io/org/two:2"):
        found = find_image(name, store=store)
        assert found is not None
        assert found.digest == one.digest
    tag_image(store, one.digest[7:19], ["by-id:1"])
    assert find_image("by-id:1", store=store) is not None


def test_what_cannot_be_tagged_is_refused(store: StoreLayout) -> None:
    with pytest.raises(ImageNotFoundError):
        tag_image(store, "none:1", ["new:1"])
    with pytest.raises(UsageError, match="pins a digest"):
        tag_image(store, "one:1", [f"new@{sha256(b'')}"])
    with pytest.raises(UsageError, match="names a file"):
        tag_image(store, "one:1", ["oras://reg.example/x:1"])
