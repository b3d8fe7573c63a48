"""Damage in a store: each kind is found, said, mended or set aside; nothing good is touched."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.images.catalogue import find_record, list_names
from sampan.images.examining import Finding, examine_store
from sampan.images.prune import PruneOptions, prune
from sampan.images.repair import repair
from sampan.images.store import find_image
from sampan.images.store_layout import StoreLayout
from support.stores import NAMES, files, flip, two_images


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return two_images(tmp_path)


def damage(store: StoreLayout, *, is_quick: bool = False) -> list[Finding]:
    return list(examine_store(store, is_quick=is_quick).damage)


def image_of(store: StoreLayout, name: str = "one:1") -> str:
    found = find_image(name, store=store)
    assert found is not None
    return found.digest


def pack_of(store: StoreLayout, suffix: str, *, layer: int = 0) -> Path:
    record = find_record(store, image_of(store))
    assert record is not None
    return Path(store.pack_file("zstd", record.layers[layer].pack, suffix))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def test_a_store_as_it_was_made_has_no_damage_and_is_not_changed(store: StoreLayout) -> None:
    before = files(store)
    found = examine_store(store, is_quick=False)
    assert found.findings == ()
    assert (found.packs, found.images, found.names) == (3, 2, 3)
    assert files(store) == before


@pytest.mark.parametrize(
    ("kind", "bend", "is_seen_quickly"),
    [
        ("pack", lambda s: flip(pack_of(s, "pack"), 5000), False),
        ("pack", lambda s: cut(pack_of(s, "pack")), True),
        ("pack", lambda s: flip(pack_of(s, "index"), -5), True),
        ("pack", lambda s: flip(pack_of(s, "headers"), -20), False),
        ("pack", lambda s: pack_of(s, "pack").unlink(), True),
        ("image", lambda s: flip(Path(s.image_file(image_of(s), "sif")), -5000), False),
        ("image", lambda s: cut(Path(s.image_file(image_of(s), "sif"))), True),
        ("image", lambda s: Path(s.image_file(image_of(s), "sif")).unlink(), True),
        ("image", lambda s: flip(Path(s.image_file(image_of(s), "config.json")), 3), True),
        ("image", lambda s: cut(Path(s.image_file(image_of(s), "facts.json"))) or
                            flip(Path(s.image_file(image_of(s), "facts.json")), 0), True),
        ("image", lambda s: Path(s.image_file(image_of(s), "record.json")).write_text("[]"), True),
        ("name", lambda s: Path(s.refs, os.listdir(s.refs)[0]).write_text("{"), True),
        ("note", lambda s: Path(s.diffs("zstd"), os.listdir(s.diffs("zstd"))[0])
                           .write_text("sha256:" + 64 * "0"), True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_kind_of_damage_is_found_and_repaired(
    kind: str, bend: Callable[[StoreLayout], object], is_seen_quickly: bool, store: StoreLayout
) -> None:
    bend(store)
    assert {finding.kind for finding in damage(store)} == {kind}
    assert bool(damage(store, is_quick=True)) == is_seen_quickly
    _, done = repair(store, is_quick=False)
    assert {one.kind for one in done} == {kind}
    assert damage(store) == []


def test_an_image_is_made_again_byte_by_byte_from_its_layers(store: StoreLayout) -> None:
    before = files(store)
    flip(Path(store.image_file(image_of(store), "sif")), -5000)
    _, done = repair(store, is_quick=False)
    assert [(one.kind, one.action, one.remedy) for one in done] == [("image", "linked anew", "")]
    after = files(store)
    records = [name for name in after if name.endswith("record.json")]
    assert {k: v for k, v in after.items() if k not in records} == {
        k: v for k, v in before.items() if k not in records
    }


def test_a_damaged_layer_is_set_aside_and_the_images_stay(store: StoreLayout) -> None:
    index = pack_of(store, "index")
    flip(pack_of(store, "pack"), 5000)
    _, done = repair(store, is_quick=False)
    assert [(one.kind, one.action) for one in done if one.kind == "pack"] == [("pack", "quarantined")]  # fmt: skip
    assert "sampan rmi -f nvcr.io/org/two:2 && sampan import oci:" in done[0].remedy
    assert not index.exists()
    assert len(os.listdir(store.quarantine)) == 4
    assert sorted(name.reference.familiar for name in list_names(store)) == sorted(NAMES)
    prune(store, PruneOptions(), in_use=set(), now=0)
    assert os.listdir(store.quarantine) == []


def test_an_image_that_cannot_be_made_again_goes_with_its_names_and_says_how_it_comes_back(
    store: StoreLayout,
) -> None:
    prune(store, PruneOptions(all_packs=True), in_use=set(), now=1e12)
    sif = Path(store.image_file(image_of(store, "nvcr.io/org/two:2"), "sif"))
    cut(sif)
    _, done = repair(store, is_quick=False)
    (one,) = [one for one in done if one.action == "quarantined"]
    assert one.remedy.startswith("sampan import oci:")
    assert one.remedy.endswith(":b nvcr.io/org/two:2")
    assert find_image("nvcr.io/org/two:2", store=store) is None
    assert find_image("one:1", store=store) is not None


def test_an_image_is_not_held_against_layers_that_were_pruned(store: StoreLayout) -> None:
    prune(store, PruneOptions(all_packs=True), in_use=set(), now=1e12)
    found = examine_store(store, is_quick=False)
    assert found.damage == ()
    assert {finding.problem for finding in found.findings} == {
        "a pack of it is gone, so its contents could not be compared"
    }


def test_an_image_of_a_damaged_layer_is_said_not_to_be_compared(store: StoreLayout) -> None:
    flip(pack_of(store, "pack"), 5000)
    remarks = [one for one in examine_store(store, is_quick=False).findings if not one.is_damage]
    assert [one.kind for one in remarks] == ["image", "image"]
    assert all("a layer of it is damaged" in one.problem for one in remarks)


def test_left_overs_are_named_and_a_repair_leaves_them_to_a_prune(store: StoreLayout) -> None:
    Path(store.images, ".tmp-1-x-y").write_text("half")
    Path(store.packs("zstd"), 64 * "0" + ".pack").write_text("half")
    found = examine_store(store, is_quick=True)
    assert [finding.kind for finding in found.findings] == ["left-over", "left-over"]
    assert found.damage == ()


def test_the_command_says_what_is_damaged_and_ends_with_1(
    store: StoreLayout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPAN_STORE", store.root)
    assert main(["store", "check"]) == 0
    assert capsys.readouterr().out.endswith("No damage found\n")
    flip(Path(store.image_file(image_of(store), "sif")), -5000)
    assert main(["store", "check"]) == 1
    said = capsys.readouterr().out
    assert f"damaged: image {image_of(store)}" in said
    assert "sampan store repair" in said
    assert main(["store", "repair"]) == 0
    assert main(["store", "check", "-q"]) == 0


def test_usage_tells_own_from_shared_layers(
    store: StoreLayout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAMPAN_STORE", store.root)
    assert main(["store", "du", "--layers"]) == 0
    said = capsys.readouterr().out
    head, *lines = [line.split() for line in said.splitlines()]
    assert head == ["IMAGE", "IMAGE", "ID", "FILE", "OWN", "SHARED"]
    users = [sorted(word.strip(",") for word in line[3:]) for line in lines if "zstd" in line]
    assert sorted(map(len, users)) == [1, 1, 2]
    assert "without it the layers would take" in said
    assert main(["store"]) == 0
    assert "store check" in capsys.readouterr().out
