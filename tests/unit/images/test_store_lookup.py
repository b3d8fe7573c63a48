"""Finding images by name, id and digest, as ``sampan run`` does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.images.catalogue import set_name
from sampan.images.store import (
    AmbiguousImageError,
    ImageNotFoundError,
    UnsafeStoreError,
    find_image,
    locate_image,
)
from sampan.images.store_access import create_store
from sampan.images.store_layout import StoreLayout, locate_store
from sampan.model.reference import parse_reference

FIRST = "sha256:" + "ab12" + "0" * 60
SECOND = "sha256:" + "ab34" + "1" * 60
MANIFEST = "sha256:" + "c" * 64


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    layout = StoreLayout(str(tmp_path / "store"))
    create_store(layout)
    for digest in (FIRST, SECOND):
        for suffix in ("sif", "facts.json", "config.json", "record.json"):
            Path(layout.image_file(digest, suffix)).write_text("{}")
    set_name(layout, parse_reference("debian:12"), FIRST, MANIFEST)
    set_name(layout, parse_reference("nvcr.io/nvidia/cuda:12.4"), SECOND, "")
    return layout


@pytest.mark.parametrize(
    "name",
    ["debian:12", "docker.io/library/debian:12", "ab12", "ab120000", FIRST, FIRST[:20]],
)
def test_a_name_or_the_beginning_of_an_id_finds_the_image(store: StoreLayout, name: str) -> None:
    found = locate_image(name, store=store)
    assert found.digest == FIRST
    assert found.sif_path == f"{store.root}/images/sha256/{FIRST[7:]}.sif"
    assert found.facts_path.endswith(".facts.json")
    assert found.config_path.endswith(".config.json")


@pytest.mark.parametrize("name", [f"debian@{MANIFEST}", f"debian:99@{MANIFEST}", f"debian@{FIRST}"])
def test_a_digest_finds_the_tag_that_has_it_whatever_the_tag_beside_it(
    store: StoreLayout, name: str
) -> None:
    assert locate_image(name, store=store).digest == FIRST


def test_a_misspelt_name_is_answered_with_the_nearest_one(store: StoreLayout) -> None:
    with pytest.raises(ImageNotFoundError) as caught:
        locate_image("debain:12", store=store)
    assert "did you mean debian:12?" in caught.value.remedy


@pytest.mark.parametrize(
    "name", ["debian", "debian:13", f"other@{MANIFEST}", "debian@sha256:" + "d" * 64, "ab1", "ffff"]
)
def test_what_is_not_there_is_not_found(store: StoreLayout, name: str) -> None:
    assert find_image(name, store=store) is None


def test_a_missing_image_is_answered_with_the_command_that_makes_it(store: StoreLayout) -> None:
    with pytest.raises(ImageNotFoundError) as caught:
        locate_image("ubuntu", store=store)
    assert caught.value.cause == "no image ubuntu:latest in the store"
    assert store.root in caught.value.evidence
    assert "sampan import SOURCE ubuntu" in caught.value.remedy


def test_a_short_id_of_several_images_is_refused_with_their_ids(store: StoreLayout) -> None:
    digest = "sha256:" + "ab12" + "9" * 60
    for suffix in ("sif", "record.json"):
        Path(store.image_file(digest, suffix)).write_text("{}")
    with pytest.raises(AmbiguousImageError) as caught:
        locate_image("ab12", store=store)
    assert "ab1299999999" in caught.value.evidence
    assert locate_image("ab1200", store=store).digest == FIRST


def test_a_name_goes_before_an_id_that_reads_the_same(store: StoreLayout) -> None:
    set_name(store, parse_reference("ab12"), SECOND, "")
    assert locate_image("ab12", store=store).digest == SECOND


def test_an_image_without_its_file_or_record_is_not_there(store: StoreLayout) -> None:
    Path(store.image_file(FIRST, "record.json")).unlink()
    Path(store.image_file(SECOND, "sif")).unlink()
    assert find_image("debian:12", store=store) is None
    assert find_image("ab12", store=store) is None
    assert find_image("nvcr.io/nvidia/cuda:12.4", store=store) is None
    assert find_image("ab34", store=store) is None


def test_a_name_longer_than_a_file_name_is_found_again(store: StoreLayout) -> None:
    name = "registry.example/" + "/".join(["a" * 30] * 7) + ":" + "t" * 128
    assert set_name(store, parse_reference(name), FIRST, MANIFEST) is not None
    assert locate_image(name, store=store).digest == FIRST
    assert locate_image(f"{name.rpartition(':')[0]}@{MANIFEST}", store=store).digest == FIRST


def test_no_store_means_no_image(tmp_path: Path) -> None:
    assert find_image("debian", store=StoreLayout(str(tmp_path / "nowhere"))) is None


@pytest.mark.parametrize("part", ["root", "images", "refs"])
def test_a_store_that_everybody_can_write_is_refused(store: StoreLayout, part: str) -> None:
    Path(getattr(store, part)).chmod(0o777)
    with pytest.raises(UnsafeStoreError) as caught:
        find_image("debian:12", store=store)
    assert caught.value.remedy == f"chmod -R o-w {store.root}"


def test_a_store_made_without_a_umask_is_not_everybodys(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        create_store(StoreLayout(str(tmp_path / "store")))
        assert os.umask(0) == 0
    finally:
        os.umask(mask)
    made = [tmp_path / "store", *(tmp_path / "store").rglob("*")]
    assert not [str(path) for path in made if path.stat().st_mode & 0o002]


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"SAMPAN_STORE": "/data/store", "HOME": "/home/u"}, "/data/store"),
        ({"XDG_DATA_HOME": "/xdg", "HOME": "/home/u"}, "/xdg/sampan"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/u"}, "/home/u/.local/share/sampan"),
        ({"HOME": "/home/u"}, "/home/u/.local/share/sampan"),
    ],
)
def test_the_store_lies_where_the_environment_says(environment: dict[str, str], root: str) -> None:
    assert locate_store(environment).root == root


def test_a_lookup_at_container_start_imports_nothing_heavy(store: StoreLayout) -> None:
    code = (
        "import sys; from sampan.images.store import locate_image;"
        "locate_image('debian:12'); import json; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"SAMPAN_STORE": store.root, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout))
    heavy = {"pathlib", "hashlib", "zstandard", "isal", "tarfile", "subprocess", "rich", "asyncio"}
    assert not loaded & heavy - {"pathlib"}  # an editable install's path hook may load pathlib
    ours = {name for name in loaded if name.startswith("sampan.")}
    assert ours == {
        "sampan.errors",
        "sampan.images",
        "sampan.images.store",
        "sampan.images.store_layout",
        "sampan.model",
        "sampan.images.documents",
        "sampan.model.image",
        "sampan.model.reference",
        "sampan.model.spellings",
    }
