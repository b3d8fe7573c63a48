"""From anything that holds an image to one file: a SIF, a squashfs for Enroot, an archive."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.engines.sif_build import name_of
from sampan.images.sif import locate_system_partition, open_sif
from sampan.images.sif_edit import add_object
from sampan.images.sif_inspect import describe_sif
from sampan.images.sif_objects import describe_new_object
from sampan.images.store import find_image
from sampan.images.store_layout import StoreLayout
from sampan.model.reference import parse_reference
from support.layouts import LayoutMaker, make_tar, named
from support.sif_files import described_tree, make_sif, make_squashfs

LAYER = make_tar({"etc": None, "etc/hello": b"hello " * 9000, "bin/sh": b"\x7fELF"})
RUN = {"Cmd": ["hello"], "Env": ["A=1"], "Labels": {"made": "here"}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreLayout:
    monkeypatch.setenv("SAMPAN_STORE", str(tmp_path / "store"))
    return StoreLayout(str(tmp_path / "store"))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    maker = LayoutMaker(tmp_path / "layout")
    maker.write_index([named(maker.add_image([LAYER], config=RUN, architecture="arm64"), "1")])
    return maker.root


@pytest.fixture
def sif(tmp_path: Path, store: StoreLayout, layout: Path) -> Path:
    assert main(["sif", "build", "-q", str(tmp_path / "app.sif"), f"oci:{layout}:1"]) == 0
    return tmp_path / "app.sif"


def build(target: Path, source: Path | str, *options: str) -> int:
    return main(["sif", "build", "-q", *options, str(target), str(source)])


def read(image: Path, offset: int, path: str) -> bytes:
    return subprocess.run(
        ["unsquashfs", "-o", str(offset), "-cat", image, path], check=True, capture_output=True
    ).stdout


def test_a_layout_becomes_a_sif_that_is_the_stores(sif: Path, store: StoreLayout) -> None:
    found = find_image("localhost/sif/app-sif", store=store)
    assert found is not None
    assert Path(found.sif_path).read_bytes() == sif.read_bytes()
    assert os.access(sif, os.X_OK)
    assert open_sif(sif).architecture == "arm64"
    assert describe_sif(open_sif(sif)).labels["made"] == "here"


def test_an_image_of_the_store_needs_no_registry(sif: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "again.sif", "localhost/sif/app-sif") == 0
    assert (tmp_path / "again.sif").read_bytes() == sif.read_bytes()


def test_a_file_that_is_there_is_replaced_only_by_force(
    sif: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sif.read_bytes()
    assert build(sif, "localhost/sif/app-sif") == 125
    assert "add --force" in capsys.readouterr().err
    assert build(sif, "localhost/sif/app-sif", "--force") == 0
    assert sif.read_bytes() == before


def test_a_target_that_cannot_be_is_said_before_anything_is_fetched(
    tmp_path: Path, store: StoreLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tmp_path / "nowhere/a.sif", "registry.invalid/a:1") == 125
    assert "is missing" in capsys.readouterr().err
    assert build(tmp_path, "registry.invalid/a:1", "--force") == 125
    assert "no regular file" in capsys.readouterr().err
    assert not Path(store.root).exists()


def test_a_squashfs_for_enroot_is_the_body_of_the_sif(sif: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "a.sqsh", sif, "--to", "sqsh") == 0
    offset, size = locate_system_partition(sif)
    body = (tmp_path / "a.sqsh").read_bytes()
    assert body == sif.read_bytes()[offset : offset + size]
    assert b"exec" in read(tmp_path / "a.sqsh", 0, "etc/rc")


def test_a_sif_of_a_sif_keeps_its_body_and_drops_what_others_added(
    sif: Path, tmp_path: Path
) -> None:
    before = sif.read_bytes()
    add_object(str(sif), describe_new_object(7, name="note"), [b"mine"], now=1)
    assert build(tmp_path / "b.sif", sif) == 0
    assert (tmp_path / "b.sif").read_bytes() == before


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_the_way_back_gives_the_image_that_went_in(
    sif: Path, store: StoreLayout, tmp_path: Path, form: str
) -> None:
    target = tmp_path / "back.tar"
    assert build(target, sif, "--to", form) == 0
    assert main(["import", "-q", str(target), "back:1"]) == 0
    found = find_image("back:1", store=store)
    assert found is not None
    config = json.loads(Path(found.config_path).read_text())
    assert config["config"] == RUN
    assert config["architecture"] == "arm64"
    assert main(["save", "-o", str(tmp_path / "saved.tar"), "back:1"]) == 0
    with tarfile.open(tmp_path / "saved.tar") as archive:
        (layer,) = [name for name in archive.getnames() if name.endswith(".tar")]
        content = archive.extractfile(layer)
        assert content is not None
        with tarfile.open(fileobj=content) as tar:
            names = tar.getnames()
            assert tar.extractfile("etc/hello").read() == b"hello " * 9000  # type: ignore[union-attr]
    assert not [name for name in names if name.startswith((".singularity.d", "environment"))]


def test_another_compression_goes_by_way_of_the_store(sif: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "g.sif", sif, "--compression", "gzip") == 0
    found = describe_sif(open_sif(tmp_path / "g.sif"))
    assert found.compression == "gzip"
    assert found.oci_config == RUN
    assert describe_sif(open_sif(sif)).compression == "zstd"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz"])
def test_a_squashfs_of_others_becomes_a_sif(
    tmp_path: Path, store: StoreLayout, compression: str
) -> None:
    tree = tmp_path / "root"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib/ld-linux-aarch64.so.1").write_bytes(b"")
    (tree / "hello").write_text("hello")
    image = make_squashfs(tree, tmp_path / "other.sqsh", "-comp", compression)
    assert build(tmp_path / "a.sif", image) == 0
    offset, _ = locate_system_partition(tmp_path / "a.sif")
    assert read(tmp_path / "a.sif", offset, "hello") == b"hello"
    assert open_sif(tmp_path / "a.sif").architecture == "arm64"


def test_a_sif_without_oci_configuration_says_what_stays_behind(
    tmp_path: Path, store: StoreLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_squashfs(described_tree(tmp_path / "root"), tmp_path / "fs").read_bytes()
    sif = make_sif(tmp_path / "old.sif", image)
    sif.write_bytes(sif.read_bytes().replace(b"oci-config.json", b"other-conf.json"))
    assert main(["import", "-q", str(sif), "old:1"]) == 0
    assert "runscript and %environment stay behind" in capsys.readouterr().err


def test_a_damaged_sif_is_refused_as_a_source(
    sif: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(sif.read_bytes())
    offset, _ = locate_system_partition(sif)
    data[offset + 64 : offset + 96] = b"\xff" * 32
    sif.write_bytes(data)
    assert build(tmp_path / "b.tar", sif, "--to", "docker-archive") == 125
    assert "error[source]: the squashfs image is damaged" in capsys.readouterr().err
    assert not (tmp_path / "b.tar").exists()


def test_an_artifact_is_pulled_not_built(
    tmp_path: Path, store: StoreLayout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(tmp_path / "a.sif", "oras://registry.invalid/a:1") == 125
    assert "sampan pull oras://registry.invalid/a:1" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["My App_v2.sif", "ünï.sif", "...", "x" * 200])
def test_every_file_name_gives_an_image_a_name(file: str) -> None:
    assert str(parse_reference(name_of(file))).startswith("localhost/sif/")
