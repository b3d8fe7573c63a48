"""``sampan sif build`` of a name: pulled from Debian's docker-registry, written as one file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.images.sif import open_sif
from sampan.images.sif_inspect import describe_sif
from support.layouts import LayoutMaker, make_tar, named
from support.registries import docker_registry, push

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("registry")
    maker = LayoutMaker(place / "layout")
    layer = make_tar({"etc/hello": b"hello " * 5000})
    maker.write_index([named(maker.add_image([layer], config={"Labels": {"a": "b"}}), "1")])
    with docker_registry(place / "data") as host:
        push(maker.root, "1", f"{host}/team/app:1")
        yield f"{host}/team/app:1"


def test_a_name_is_pulled_and_becomes_a_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPAN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = tmp_path / "app.sif", tmp_path / "app-gzip.sif"
    assert main(["sif", "build", "-q", str(first), f"docker://{name}"]) == 0
    found = describe_sif(open_sif(first))
    assert (found.labels["a"], found.compression) == ("b", "zstd")
    assert f"from: {name}" in found.definition
    # The same image in another compression is fetched again, since its blocks are others.
    assert main(["sif", "build", "-q", "--compression", "gzip", str(second), name]) == 0
    assert describe_sif(open_sif(second)).compression == "gzip"


def test_a_name_that_is_nowhere_leaves_no_file(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SAMPAN_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["sif", "build", "-q", str(tmp_path / "a.sif"), f"{name}-missing"]) == 125
    assert "error[" in capsys.readouterr().err
    assert not (tmp_path / "a.sif").exists()
