"""OCI layouts and docker archives: what is found, chosen, compared, refused."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sampan.images.sources.opening import open_source, parse_source
from sampan.model.image import Platform, parse_platform
from sampan.model.source import SourceError, SourceImage
from support.layouts import (
    OCI_INDEX,
    LayoutMaker,
    make_tar,
    named,
    on_platform,
    sha256,
    write_docker_archive,
)

HOST = Platform("linux", "amd64")
LOWER = make_tar({"etc": None, "etc/name": b"lower"})
UPPER = make_tar({"etc/name": b"upper"})


def open_at(path: Path | str, platform: str = "") -> SourceImage:
    wanted = parse_platform(platform) if platform else None
    with open_source(
        parse_source(str(path)), wanted=wanted, host=HOST, spool=Path("/nonexistent"), store_root=""
    ) as image:
        return image


def contents(image: SourceImage) -> list[bytes]:
    found = []
    for layer in image.layers:
        with layer.open() as stream:
            data = stream.read()
        found.append(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    return found


def architecture(image: SourceImage) -> str:
    assert image.config is not None
    return str(json.loads(image.config)["architecture"])


@pytest.fixture
def layout(tmp_path: Path) -> LayoutMaker:
    return LayoutMaker(tmp_path / "layout")


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("as_archive", [False, True])
def test_a_layout_gives_its_config_and_layers_in_order(
    layout: LayoutMaker, tmp_path: Path, docker: bool, as_archive: bool
) -> None:
    manifest = layout.add_image([LOWER, UPPER], docker=docker)
    layout.write_index([named(manifest, "1.0")])
    path = layout.as_archive(tmp_path / "a.tar") if as_archive else layout.root
    image = open_at(path)
    assert contents(image) == [LOWER, UPPER]
    assert [layer.diff_id for layer in image.layers] == [sha256(LOWER), sha256(UPPER)]
    assert image.manifest_digest == manifest["digest"]
    assert image.warnings == ()


def test_one_of_several_images_is_chosen_by_tag_or_digest(layout: LayoutMaker) -> None:
    first, second = layout.add_image([LOWER]), layout.add_image([UPPER])
    layout.write_index([named(first, "one"), named(second, "two")])
    assert contents(open_at(f"oci:{layout.root}:two")) == [UPPER]
    assert contents(open_at(f"oci:{layout.root}:{first['digest']}")) == [LOWER]


def test_without_a_tag_several_images_are_listed(layout: LayoutMaker) -> None:
    entries = [layout.add_image([LOWER]), layout.add_image([UPPER])]
    layout.write_index([named(entries[0], "one"), named(entries[1], "two")])
    with pytest.raises(SourceError) as caught:
        open_at(layout.root)
    assert "one, two" in caught.value.evidence
    assert caught.value.remedy.endswith(":one")


def test_a_tag_that_is_not_there_is_answered_with_those_that_are(layout: LayoutMaker) -> None:
    layout.write_index([named(layout.add_image([LOWER]), "one")])
    with pytest.raises(SourceError) as caught:
        open_at(f"oci:{layout.root}:three")
    assert "no image 'three'" in caught.value.cause
    assert "there is: one" in caught.value.evidence


def test_whole_names_as_containerd_writes_them_answer_to_name_and_tag(layout: LayoutMaker) -> None:
    full = "docker.io/library/debian:12"
    entry = layout.add_image([LOWER])
    entry["annotations"] = {
        "io.containerd.image.name": full,
        "org.opencontainers.image.ref.name": "12",
    }
    layout.write_index([entry])
    assert contents(open_at(f"oci:{layout.root}:{full}")) == [LOWER]
    image = open_at(f"oci:{layout.root}:12")
    assert image.suggested_name == full


def test_an_index_gives_the_hosts_platform_or_the_one_asked_for(layout: LayoutMaker) -> None:
    entries = [
        on_platform(layout.add_image([LOWER], architecture="arm64", variant="v8"), "arm64", "v8"),
        on_platform(layout.add_image([LOWER]), "amd64"),
        on_platform(layout.add_image([UPPER], architecture="s390x"), "s390x"),
    ]
    layout.write_index([named(layout.add_list(entries), "multi")])
    assert architecture(open_at(layout.root)) == "amd64"
    assert architecture(open_at(layout.root, "linux/arm64")) == "arm64"
    assert architecture(open_at(layout.root, "arm64/v8".removesuffix("/v8"))) == "arm64"
    with pytest.raises(SourceError) as caught:
        open_at(layout.root, "linux/riscv64")
    assert "linux/amd64, linux/arm64/v8, linux/s390x" in caught.value.evidence


@pytest.mark.parametrize("docker", [False, True])
def test_nested_indexes_are_followed(layout: LayoutMaker, docker: bool) -> None:
    arm = layout.add_image([UPPER], architecture="arm64", docker=docker)
    inner = layout.add_list(
        [on_platform(layout.add_image([LOWER], docker=docker), "amd64")], docker=docker
    )
    outer = layout.add_list([inner, on_platform(arm, "arm64")], docker=docker)
    layout.write_index([outer])
    assert contents(open_at(layout.root)) == [LOWER]
    assert contents(open_at(layout.root, "arm64")) == [UPPER]


def test_manifests_without_a_platform_are_told_apart_by_their_configurations(
    layout: LayoutMaker,
) -> None:
    entries = [layout.add_image([LOWER], architecture="arm64"), layout.add_image([UPPER])]
    layout.write_index([named(entry, "same") for entry in entries])
    assert contents(open_at(layout.root)) == [UPPER]


def test_buildkits_attestations_are_no_images(layout: LayoutMaker) -> None:
    attestation = on_platform(layout.add_image([UPPER]), "unknown", os="unknown")
    image = on_platform(layout.add_image([LOWER]), "amd64")
    layout.write_index([layout.add_list([image, attestation])])
    assert contents(open_at(layout.root)) == [LOWER]


def test_an_image_for_another_machine_is_imported_with_a_warning(layout: LayoutMaker) -> None:
    layout.write_index([layout.add_image([LOWER], architecture="arm64")])
    assert open_at(layout.root).warnings == (
        "the image is for linux/arm64, this host is linux/amd64",
    )
    assert open_at(layout.root, "arm64").warnings == ()
    with pytest.raises(SourceError):
        open_at(layout.root, "amd64")


def test_an_index_that_nests_without_end_is_refused(layout: LayoutMaker) -> None:
    entry = layout.add_image([LOWER])
    for _ in range(6):
        entry = layout.add_list([entry])
    layout.write_index([entry])
    with pytest.raises(SourceError, match="too deeply"):
        open_at(layout.root)


Bend = Callable[[LayoutMaker, dict[str, Any]], None]


def bent_manifest(change: Callable[[dict[str, Any]], Any]) -> Bend:
    def bend(layout: LayoutMaker, entry: dict[str, Any]) -> None:
        document = json.loads(layout.blob_path(entry["digest"]).read_bytes())
        change(document)
        layout.write_index([layout.add_document(document, entry["mediaType"])])

    return bend


def shorten(layout: LayoutMaker, entry: dict[str, Any]) -> None:
    path = layout.blob_path(first_layer(layout, entry))
    path.write_bytes(path.read_bytes()[:-1])


def first_layer(layout: LayoutMaker, entry: dict[str, Any]) -> str:
    document = json.loads(layout.blob_path(entry["digest"]).read_bytes())
    return str(document["layers"][0]["digest"])


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        (lambda at, e: at.blob_path(first_layer(at, e)).unlink(), "is missing"),
        (shorten, "bytes, the manifest says"),
        (lambda at, e: at.blob_path(e["digest"]).unlink(), "has no blobs/sha256/"),
        (lambda at, e: at.blob_path(e["digest"]).write_bytes(b"{}"), "wrong size"),
        (
            lambda at, e: at.blob_path(e["digest"]).write_bytes(b"x" * e["size"]),
            "other content than its digest says",
        ),
        (lambda at, e: (at.root / "oci-layout").write_text('{"imageLayoutVersion": "9"}'), "'9'"),
        (lambda at, e: (at.root / "index.json").write_text("{"), "is not JSON"),
        (lambda at, e: (at.root / "index.json").write_text("[]"), "is not a JSON object"),
        (lambda at, e: at.write_index([]), "holds no image"),
        (lambda at, e: at.write_index([7]), "malformed descriptor"),
        (lambda at, e: at.write_index([{**e, "size": -1}]), "without a size"),
        (lambda at, e: at.write_index([{**e, "digest": "sha256:../../x"}]), "malformed digest"),
        (lambda at, e: at.write_index([{**e, "digest": "md5:00"}]), "digest we do not read"),
        (bent_manifest(lambda m: m["layers"].pop()), "2 diff_ids, 1 layers"),
        (bent_manifest(lambda m: m.update(schemaVersion=1)), "schema 1"),
        (bent_manifest(lambda m: m.update(manifests=[])), "manifest and index at once"),
        (bent_manifest(lambda m: m.update(layers=None)), "no list of layers"),
        (
            bent_manifest(lambda m: m["config"].update(mediaType="application/helm")),
            "application/helm",
        ),
        (
            bent_manifest(lambda m: m["layers"][0].update(mediaType="application/in-toto+json")),
            "application/in-toto+json",
        ),
    ],
)
def test_a_damaged_layout_is_refused_with_what_is_wrong(
    layout: LayoutMaker, bend: Bend, said: str
) -> None:
    entry = layout.add_image([LOWER, UPPER])
    layout.write_index([entry])
    bend(layout, entry)
    with pytest.raises(SourceError) as caught:
        open_at(f"oci:{layout.root}")
    assert said in str(caught.value)


def test_an_index_that_is_a_manifest_too_is_refused(layout: LayoutMaker) -> None:
    both = {"schemaVersion": 2, "manifests": [], "layers": []}
    layout.write_index([layout.add_document(both, OCI_INDEX)])
    with pytest.raises(SourceError, match="index and manifest at once"):
        open_at(layout.root)


def test_all_missing_layers_are_said_at_once(layout: LayoutMaker) -> None:
    entry = layout.add_image([LOWER, UPPER])
    layout.write_index([entry])
    document = json.loads(layout.blob_path(entry["digest"]).read_bytes())
    for layer in document["layers"]:
        layout.blob_path(layer["digest"]).unlink()
    with pytest.raises(SourceError) as caught:
        open_at(layout.root)
    assert caught.value.evidence.count("is missing") == 2


def test_a_docker_archive_gives_config_layers_and_name(tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", [LOWER, UPPER], names=["a/b:1"])
    image = open_at(path)
    assert contents(image) == [LOWER, UPPER]
    assert image.suggested_name == "a/b:1"
    assert contents(open_at(f"docker-archive:{path}:1")) == [LOWER, UPPER]
    assert contents(open_at(f"docker-archive:{path}:docker.io/a/b:1")) == [LOWER, UPPER]


def test_a_layer_that_docker_saved_as_a_link_is_found(tmp_path: Path) -> None:
    path = write_docker_archive(
        tmp_path / "saved.tar", [LOWER, UPPER, LOWER], repeated_as_link=True
    )
    assert contents(open_at(path)) == [LOWER, UPPER, LOWER]


def test_a_docker_archive_lists_its_names_when_asked_for_another(tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", [LOWER], names=["a/b:1", "c:2"])
    with pytest.raises(SourceError) as caught:
        open_at(f"docker-archive:{path}:d")
    assert "a/b:1, c:2" in caught.value.evidence


def test_a_docker_archive_whose_config_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", [LOWER], config_name="0" * 64 + ".json")
    with pytest.raises(SourceError, match="other content than its name says"):
        open_at(f"docker-archive:{path}")


@pytest.mark.parametrize("left", [0.3, 0.6, 0.95])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, left: float) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", [LOWER, UPPER])
    whole = path.read_bytes()
    path.write_bytes(whole[: int((len(whole) - 10240) * left) | 1])
    with pytest.raises(SourceError):
        open_at(f"docker-archive:{path}")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"manifest.json": b"[]"}, "docker-archive"),
        ({"a" * 64 + ".json": b"", "a" * 64 + "/layer.tar": b"", "manifest.json": b"[]"},
         "docker-archive"),
        ({"blobs": None, "oci-layout": b"", "index.json": b"", "manifest.json": b""},
         "docker-archive"),
        ({"blobs": None, "blobs/sha256": None, "index.json": b"", "oci-layout": b""},
         "oci-archive"),
        ({"etc": None, "manifest.json": b"[]"}, "rootfs"),
        ({"bin": None, "usr/bin/x": b""}, "rootfs"),
    ],
)  # fmt: skip
def test_a_bare_file_is_what_its_names_say(
    tmp_path: Path, files: dict[str, bytes | None], kind: str
) -> None:
    path = tmp_path / "some.tar"
    for content in (make_tar(files), gzip.compress(make_tar(files))):
        path.write_bytes(content)
        assert parse_source(str(path)).kind == kind


def test_a_bare_directory_is_a_layout_or_a_root_file_system(layout: LayoutMaker) -> None:
    assert parse_source(str(layout.root)).kind == "oci"
    assert parse_source(f"rootfs:{layout.root}").kind == "rootfs"
    assert parse_source(str(layout.root.parent)).kind == "rootfs"


def test_a_path_with_colons_is_split_where_something_exists(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    assert parse_source(f"oci:{tmp_path}/a:b")[1:] == (f"{tmp_path}/a:b", "")
    assert parse_source(f"oci:{tmp_path}/a:b:host:5000/x:1")[1:] == (
        f"{tmp_path}/a:b",
        "host:5000/x:1",
    )


@pytest.mark.parametrize(
    "text", ["nowhere", "oci:nowhere", "oci:nowhere:tag", "docker://debian", "ftp://x", ""]
)
def test_a_source_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(SourceError):
        parse_source(text)


@pytest.mark.parametrize("which", ["oci-layout", "index.json", "config", "layer"])
def test_a_layout_with_a_fifo_is_refused_instead_of_waited_for(
    layout: LayoutMaker, which: str
) -> None:
    described = layout.add_image([UPPER])
    layout.write_index([described])
    manifest = json.loads(layout.blob_path(described["digest"]).read_text())
    blobs = {"config": manifest["config"], "layer": manifest["layers"][0]}
    path = layout.blob_path(blobs[which]["digest"]) if which in blobs else layout.root / which
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceError, match="cannot read") as caught:
        open_at(f"oci:{layout.root}")
    assert "no regular file" in caught.value.evidence
