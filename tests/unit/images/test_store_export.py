"""A store's images carried into another store: each layer once, nothing damaged, nothing twice."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.errors import SampanError, UsageError
from sampan.images.catalogue import list_names, list_records
from sampan.images.examining import examine_store
from sampan.images.export_format import ExportError, load_list
from sampan.images.exporting import export_images, list_contents
from sampan.images.importer import import_image
from sampan.images.prune import PruneOptions, prune
from sampan.images.store import ImageNotFoundError, find_image
from sampan.images.store_access import create_store
from sampan.images.store_layout import StoreLayout
from sampan.images.taking_in import import_export
from support.layouts import LayoutMaker, named
from support.stores import BASE, NAMES, TOPS, files, flip, two_images


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return two_images(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "other"))


def names(store: StoreLayout) -> list[str]:
    return sorted(name.reference.familiar for name in list_names(store))


def without_records(store: StoreLayout) -> dict[str, bytes]:
    """Records say when an image came."""
    return {name: data for name, data in files(store).items() if "record.json" not in name}


@pytest.mark.parametrize("target", ["export.tar", "directory/"])
def test_the_other_store_is_the_same_byte_by_byte(
    target: str, store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    done = export_images(store, [], f"{tmp_path}/{target}")
    assert (done.images, done.layers, done.left_out) == (2, 3, 0)
    came = import_export(f"{tmp_path}/{target}".rstrip("/"), store=other)
    assert sorted(reference.familiar for reference, _ in came) == sorted(NAMES)
    assert without_records(other) == without_records(store)
    assert examine_store(other, is_quick=False).findings == ()


def test_a_file_of_one_image_is_a_tar_that_holds_only_its_layers(
    store: StoreLayout, tmp_path: Path
) -> None:
    done = export_images(store, ["nvcr.io/org/two:2"], f"{tmp_path}/e")
    assert (done.images, done.layers) == (1, 2)
    with tarfile.open(tmp_path / "e") as archive:
        paths = archive.getnames()
        assert paths[0] == "sampan-store.json"
        assert archive.extractfile("sampan-store.json") is not None
    assert len([path for path in paths if path.endswith(".pack")]) == 2


def test_what_the_other_side_has_is_left_out(
    store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    export_images(store, ["one:1"], f"{tmp_path}/first")
    import_export(f"{tmp_path}/first", store=other)
    done = export_images(
        store, ["nvcr.io/org/two:2"], f"{tmp_path}/second", have=list(list_contents(other))
    )
    assert (done.layers, done.left_out) == (1, 1)
    import_export(f"{tmp_path}/second", store=other)
    assert without_records(other) == without_records(store)


def test_an_export_that_lacks_a_layer_is_refused_before_anything_is_written(
    store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    export_images(store, ["one:1"], f"{tmp_path}/e", have=list(list_contents(store)))
    with pytest.raises(ExportError) as caught:
        import_export(f"{tmp_path}/e", store=other)
    assert "sampan store list" in caught.value.remedy
    assert files(other) == {}


def test_an_image_whose_layers_were_pruned_travels_whole(
    store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    prune(store, PruneOptions(all_packs=True), in_use=set(), now=1e12)
    done = export_images(store, [], f"{tmp_path}/e")
    assert done.layers == 0
    import_export(f"{tmp_path}/e", store=other)
    assert names(other) == sorted(NAMES)
    assert without_records(other) == without_records(store)


def test_an_export_that_was_cut_goes_on_and_gives_the_same_bytes(
    store: StoreLayout, tmp_path: Path
) -> None:
    target, partial = tmp_path / "e", tmp_path / "e.partial"
    export_images(store, [], str(target))
    whole = target.read_bytes()
    for size in (0, 100, 1024, len(whole) // 2, len(whole) - 1500, len(whole)):
        partial.write_bytes(whole[:size])
        export_images(store, [], str(target))
        assert target.read_bytes() == whole
        assert not partial.exists()
    # Half a page that never reached the disk.
    partial.write_bytes(whole[:200_000] + bytes(5000) + whole[205_000:])
    export_images(store, [], str(target))
    assert target.read_bytes() == whole


def test_a_directory_is_filled_up_and_nothing_in_it_written_twice(
    store: StoreLayout, tmp_path: Path
) -> None:
    export_images(store, ["one:1"], f"{tmp_path}/d/")
    pack = next((tmp_path / "d").rglob("*.pack"))
    before = pack.stat().st_ino
    done = export_images(store, [], f"{tmp_path}/d")
    assert done.kept > 0
    assert pack.stat().st_ino == before


@pytest.mark.parametrize("at", [700, 3000, 60_000, -200_000, -3000])
def test_a_damaged_file_is_refused_and_leaves_no_image(
    at: int, store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    export_images(store, ["one:1"], f"{tmp_path}/e")
    flip(tmp_path / "e", at)
    try:
        import_export(f"{tmp_path}/e", store=other)
    except SampanError as error:
        assert error.cause  # noqa: PT017 - padding may be hit, which harms nobody
        assert names(other) == []
    assert (
        examine_store(other, is_quick=False).findings == () if os.path.isdir(other.root) else True
    )


def test_a_cut_file_is_refused_and_the_whole_one_needs_only_the_rest(
    store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    export_images(store, [], f"{tmp_path}/e")
    whole = (tmp_path / "e").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) - 5000])
    with pytest.raises(ExportError, match="was cut"):
        import_export(f"{tmp_path}/cut", store=other)
    packs = set(os.listdir(other.packs("zstd")))
    assert packs
    assert not [name for name in packs if name.startswith(".")]
    import_export(f"{tmp_path}/e", store=other)
    assert without_records(other) == without_records(store)


def test_a_pack_under_another_layers_name_is_refused(
    store: StoreLayout, other: StoreLayout, tmp_path: Path
) -> None:
    """All checksums fit: only the pack itself says that it is another layer."""
    export_images(store, [], f"{tmp_path}/d/")
    indices = sorted((tmp_path / "d/packs/zstd/sha256").glob("*.index"))
    content = indices[0].read_bytes()
    document = json.loads((tmp_path / "d/sampan-store.json").read_text())
    given = {file["path"]: file for file in document["files"]}
    for suffix in ("pack", "headers", "index"):
        one, two = (f"packs/zstd/sha256/{index.stem}.{suffix}" for index in indices[:2])
        (tmp_path / "d" / two).write_bytes((tmp_path / "d" / one).read_bytes())
        given[two].update(size=given[one]["size"], sha256=given[one]["sha256"])
    assert indices[1].read_bytes() == content
    (tmp_path / "d/sampan-store.json").write_text(json.dumps(document))
    with pytest.raises(ExportError, match="is damaged"):
        import_export(f"{tmp_path}/d", store=other)
    assert names(other) == []


@pytest.mark.parametrize(
    "bend",
    [
        lambda d: d["files"][0].update(path="../../etc/passwd"),
        lambda d: d["files"][0].update(path="/etc/passwd"),
        lambda d: d["files"][0].update(path="packs/zstd/sha256/../../../x.pack"),
        lambda d: d["files"][0].update(path=f"refs/{64 * 'a'}.pack"),
        lambda d: d["files"][0].update(size=-1),
        lambda d: d["files"][0].update(sha256="x"),
        lambda d: d["files"].append(d["files"][0]),
        lambda d: d["images"][0].update(digest="sha256:../x"),
        lambda d: d["images"][0].update(compression="../x"),
        lambda d: d["images"][0]["layers"][0].update(pack="sha256:../x"),
        lambda d: d["images"][0].update(names=[["../x", ""]]),
        lambda d: d.update(images=7),
        lambda d: d.update(format="other"),
        lambda d: d.update(version=2),
    ],
)  # fmt: skip
def test_a_hostile_list_is_refused(bend: object, store: StoreLayout, tmp_path: Path) -> None:
    export_images(store, ["one:1"], f"{tmp_path}/d/")
    document = json.loads((tmp_path / "d/sampan-store.json").read_text())
    bend(document)  # type: ignore[operator]
    with pytest.raises(ExportError):
        load_list(json.dumps(document).encode(), "list")


def test_other_archives_are_refused_with_a_way(other: StoreLayout, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("manifest.json"), io.BytesIO())
    with pytest.raises(ExportError) as caught:
        import_export(f"{tmp_path}/t.tar", store=other)
    assert "sampan load" in caught.value.remedy
    with pytest.raises(ExportError):
        import_export(f"{tmp_path}", store=other)


def test_an_image_without_a_name_is_refused(store: StoreLayout, tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "more")
    maker.write_index([named(maker.add_image([BASE, TOPS[2]]), "c")])
    import_image(f"oci:{maker.root}:c", "nvcr.io/org/two:2", store=store)
    nameless = {record.digest for record in list_records(store)}
    nameless -= {name.image for name in list_names(store)}
    with pytest.raises(UsageError, match="has no name"):
        export_images(store, [nameless.pop()], f"{tmp_path}/e")
    with pytest.raises(ImageNotFoundError):
        export_images(store, ["nothing"], f"{tmp_path}/e")
    empty = StoreLayout(f"{tmp_path}/empty")
    create_store(empty)
    with pytest.raises(UsageError, match="no image"):
        export_images(empty, [], f"{tmp_path}/e")


def test_a_target_that_cannot_be_written_is_named(store: StoreLayout) -> None:
    with pytest.raises(ExportError) as caught:
        export_images(store, ["one:1"], "/dev/full/")
    assert "/dev/full" in caught.value.evidence


def test_an_image_runs_by_its_name_after_a_pipe_from_store_to_store(
    store: StoreLayout, other: StoreLayout
) -> None:
    program = [sys.executable, "-m", "sampan", "store"]
    sent = subprocess.run(
        [*program, "export", "-o", "-", "one:1"],
        env={**os.environ, "SAMPAN_STORE": store.root}, capture_output=True, check=True,
    )  # fmt: skip
    done = subprocess.run(
        [*program, "import", "-"], input=sent.stdout,
        env={**os.environ, "SAMPAN_STORE": other.root}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.decode().splitlines() == [
        "Imported image: one:1",
        "Imported image: also.example/one:x",
    ]
    assert find_image("one:1", store=other) is not None


def test_the_commands_speak_of_what_they_did(
    store: StoreLayout, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("SAMPAN_STORE", store.root)
    assert main(["store", "list"]) == 0
    (tmp_path / "have").write_text(capsys.readouterr().out)
    words = ["store", "export", "--have", f"{tmp_path}/have", "-o", f"{tmp_path}/e"]
    assert main(words) == 0
    assert "3 layers left out" in capsys.readouterr().err
    assert main(["store", "export"]) == 125
    assert main(["store", "exprot"]) == 125
    assert "did you mean: sampan store export" in capsys.readouterr().err
