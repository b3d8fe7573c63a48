"""Names, removal, pruning and refusals of a store, on images of a few bytes."""

import os
import time
from pathlib import Path

import pytest

from sampan.images.catalogue import (
    ImageInUseError,
    ImageRecord,
    RecordedLayer,
    list_names,
    list_records,
    remove_image,
    set_name,
    write_record,
)
from sampan.images.prune import PruneOptions, disk_size, prune
from sampan.images.room import measure_room, require_room
from sampan.images.store import ImageNotFoundError, UnsafeStoreError, find_image
from sampan.images.store_access import StoreError, create_store, store_errors
from sampan.images.store_layout import StoreLayout
from sampan.kernel.locks import hold_shared, is_held
from sampan.model.reference import parse_reference

NOW = time.time()
LAYERS = [f"sha256:{digit * 64}" for digit in "123"]
IMAGES = [f"sha256:{digit * 64}" for digit in "abc"]


def add_pack(store: StoreLayout, digest: str, *, size: int = 8192, used: float = NOW) -> None:
    Path(store.pack_file("zstd", digest, "pack")).write_bytes(b"x" * size)
    index = store.pack_file("zstd", digest, "index")
    Path(index).write_bytes(b"y")
    os.utime(index, (used, used))
    Path(store.diffs("zstd"), digest[7:]).write_text(digest)


def add_image(
    store: StoreLayout, digest: str, layers: list[str], *names: str, imported: float = NOW
) -> None:
    for suffix in ("sif", "facts.json", "config.json"):
        Path(store.image_file(digest, suffix)).write_text("content")
    write_record(
        store,
        ImageRecord(
            digest=digest,
            imported=imported,
            size=7,
            source="test",
            platform="linux/amd64",
            compression="zstd",
            facts_version=1,
            layers=tuple(RecordedLayer(layer, layer, layer) for layer in layers),
        ),
    )
    for name in names:
        set_name(store, parse_reference(name), digest, "")


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    layout = StoreLayout(str(tmp_path / "store"))
    create_store(layout)
    return layout


def freed(store: StoreLayout, options: PruneOptions | None = None, **use: set[str]) -> set[str]:
    items = prune(store, options or PruneOptions(), in_use=use.get("in_use", set()), now=NOW)
    return {item.name for item in items}


def files(store: StoreLayout) -> set[str]:
    return {
        str(path.relative_to(store.root))
        for path in Path(store.root).rglob("*")
        if path.is_file() and path.parent.name != "locks"
    }


def test_records_and_names_are_listed_as_they_were_written(store: StoreLayout) -> None:
    add_image(store, IMAGES[0], LAYERS[:2], "b:1", "a:1", imported=NOW - 5)
    add_image(store, IMAGES[1], LAYERS[1:], imported=NOW)
    assert [record.digest for record in list_records(store)] == [IMAGES[1], IMAGES[0]]
    assert list_records(store)[1].layers[0] == RecordedLayer(LAYERS[0], LAYERS[0], LAYERS[0])
    assert [str(name.reference) for name in list_names(store)] == [
        "docker.io/library/a:1",
        "docker.io/library/b:1",
    ]


def test_removing_one_of_two_names_keeps_the_image(store: StoreLayout) -> None:
    add_image(store, IMAGES[0], [], "one", "two")
    assert remove_image(store, "one", containers={}) == ["Untagged: one:latest"]
    assert find_image("two", store=store) is not None
    assert find_image("one", store=store) is None


def test_removing_the_last_name_removes_the_image_but_not_its_packs(store: StoreLayout) -> None:
    add_pack(store, LAYERS[0])
    add_image(store, IMAGES[0], [LAYERS[0]], "one")
    assert remove_image(store, "one", containers={}) == [
        "Untagged: one:latest",
        f"Deleted: {IMAGES[0]}",
    ]
    assert list_records(store) == []
    assert os.path.exists(store.pack_file("zstd", LAYERS[0], "pack"))


def test_an_id_with_two_names_is_removed_only_by_force(store: StoreLayout) -> None:
    add_image(store, IMAGES[0], [], "one", "two")
    with pytest.raises(ImageInUseError) as caught:
        remove_image(store, "aaaa", containers={})
    assert caught.value.evidence == "one:latest, two:latest"
    assert len(remove_image(store, "aaaa", containers={}, force=True)) == 3


def test_an_image_that_a_container_uses_is_removed_only_by_force(store: StoreLayout) -> None:
    add_image(store, IMAGES[0], [], "one")
    with pytest.raises(ImageInUseError) as caught:
        remove_image(store, "one", containers={IMAGES[0]: "busy_fox"})
    assert "busy_fox" in caught.value.cause
    assert find_image("one", store=store) is not None
    remove_image(store, "one", containers={IMAGES[0]: "busy_fox"}, force=True)
    assert find_image("one", store=store) is None


def test_removing_what_is_not_there_says_so(store: StoreLayout, tmp_path: Path) -> None:
    with pytest.raises(ImageNotFoundError):
        remove_image(store, "none", containers={})
    with pytest.raises(ImageNotFoundError):
        remove_image(StoreLayout(str(tmp_path / "nowhere")), "none", containers={})


def test_a_name_is_not_given_to_an_image_that_is_gone(store: StoreLayout) -> None:
    assert set_name(store, parse_reference("one"), IMAGES[0], "") is None
    assert list_names(store) == []


def test_a_prune_frees_what_no_image_needs_and_nothing_else(store: StoreLayout) -> None:
    for layer in LAYERS:
        add_pack(store, layer)
    add_image(store, IMAGES[0], [LAYERS[0]], "kept")
    add_image(store, IMAGES[1], [LAYERS[1]])
    assert freed(store) == {IMAGES[1], LAYERS[1], LAYERS[2]}
    left = files(store)
    assert find_image("kept", store=store) is not None
    assert not any(LAYERS[1][7:] in name or LAYERS[2][7:] in name for name in left)
    assert len([name for name in left if LAYERS[0][7:] in name]) == 3
    assert freed(store) == set()


def test_a_dry_run_says_the_same_and_frees_nothing(store: StoreLayout) -> None:
    for layer in LAYERS[:2]:
        add_pack(store, layer)
    add_image(store, IMAGES[1], [LAYERS[1]])
    before = files(store)
    assert freed(store, PruneOptions(dry_run=True)) == {IMAGES[1], LAYERS[0], LAYERS[1]}
    assert files(store) == before


def test_an_unnamed_image_in_use_is_kept(store: StoreLayout) -> None:
    add_image(store, IMAGES[0], [])
    add_image(store, IMAGES[1], [])
    held = hold_shared(store.image_file(IMAGES[1], "sif"))
    try:
        assert freed(store, in_use={IMAGES[0]}) == set()
        assert is_held(store.image_file(IMAGES[1], "sif"))
    finally:
        os.close(held)
    assert freed(store) == {IMAGES[0], IMAGES[1]}


def test_all_frees_the_packs_of_named_images_too_but_not_the_images(store: StoreLayout) -> None:
    add_pack(store, LAYERS[0])
    add_image(store, IMAGES[0], [LAYERS[0]], "kept")
    assert freed(store, PruneOptions(all_packs=True)) == {LAYERS[0]}
    assert find_image("kept", store=store) is not None


def test_what_was_used_lately_is_kept_when_an_age_is_given(store: StoreLayout) -> None:
    add_pack(store, LAYERS[0], used=NOW - 100)
    add_pack(store, LAYERS[1], used=NOW - 10_000)
    add_image(store, IMAGES[0], [], imported=NOW - 100)
    add_image(store, IMAGES[1], [], imported=NOW - 10_000)
    assert freed(store, PruneOptions(older_than_s=1000)) == {LAYERS[1], IMAGES[1]}


def test_a_size_frees_the_packs_longest_unused_first(store: StoreLayout) -> None:
    for number, layer in enumerate(LAYERS):
        add_pack(store, layer, size=100_000, used=NOW - number)
    add_image(store, IMAGES[0], LAYERS, "kept")
    limit = disk_size(store) - 150_000
    assert freed(store, PruneOptions(max_size=limit)) == {LAYERS[2], LAYERS[1]}
    assert disk_size(store) <= limit


def test_what_crashes_left_is_swept(store: StoreLayout) -> None:
    left = [
        Path(store.packs("zstd"), ".tmp-1-ab-x.pack"),
        Path(store.packs("zstd"), f"{'4' * 64}.pack"),
        Path(store.images, ".tmp-1-ab-x.sif"),
        Path(store.images, f"{'5' * 64}.sif"),
        Path(store.refs, ".tmp-1-ab-name"),
        Path(store.diffs("gzip"), "6" * 64),
    ]
    for path in left:
        path.write_text("sha256:none")
    add_pack(store, LAYERS[0])
    add_image(store, IMAGES[0], [LAYERS[0]], "kept")
    assert freed(store) == {path.name for path in left}
    assert find_image("kept", store=store) is not None


def test_too_little_room_is_said_before_work_with_the_bytes_that_are_missing(
    store: StoreLayout,
) -> None:
    room = measure_room(store)
    require_room(store, room, needed_bytes=1, needed_files=1)
    with pytest.raises(StoreError) as caught:
        require_room(store, room, needed_bytes=1 << 60, needed_files=1)
    assert "are missing" in caught.value.evidence
    assert "SAMPAN_STORE" in caught.value.remedy
    assert "sampan prune" in caught.value.remedy


@pytest.mark.parametrize("number", [28, 122, 13, 30])
def test_a_refusal_of_the_system_names_the_path_and_a_way_out(
    store: StoreLayout, number: int
) -> None:
    with pytest.raises(StoreError) as caught, store_errors(store):
        raise OSError(number, os.strerror(number), "/some/file")
    assert "/some/file" in caught.value.evidence
    assert os.strerror(number) in caught.value.evidence
    assert "SAMPAN_STORE" in caught.value.remedy


def test_a_file_where_the_store_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError) as caught:
        create_store(StoreLayout(str(tmp_path / "store" / "below")))
    assert "Not a directory" in caught.value.evidence


def test_nothing_is_imported_into_a_store_that_everybody_can_write(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)
    with pytest.raises(UnsafeStoreError):
        create_store(StoreLayout(str(tmp_path / "store")))
