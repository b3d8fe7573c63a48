"""Push, copy, mirror, save and load with Debian's docker-registry, skopeo, podman and apptainer."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engine_host import EngineHost, engine_host
from support.layouts import LayoutMaker, make_tar, named, on_platform, sha256, tar_of
from support.registries import docker_registry, push, require_programs

pytestmark = pytest.mark.integration

Shell = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.fixture(scope="module")
def layout(host: EngineHost) -> Path:
    """An image that runs, one that shares its base, an index of two platforms with an attestation."""
    maker = LayoutMaker(host.base / "layout")
    base = tar_of(host.base / "rootfs")
    hello = make_tar({"etc/hello": b"hello again\n", "etc/noise": os.urandom(300_000)})
    config = {"Cmd": ["cat", "/etc/hello"]}
    arm = maker.add_image([hello], architecture="arm64", config=config)
    amd = maker.add_image([hello], config=config)
    statement = maker.add_image([b"{}"], compress=bytes, layer_type="application/vnd.in-toto+json")
    statement["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    both = maker.add_list([on_platform(amd, "amd64"), on_platform(arm, "arm64"),
                           on_platform(statement, "unknown", os="unknown")])  # fmt: skip
    maker.write_index([
        named(maker.add_image([base, hello], config=config), "base"),
        named(maker.add_image([base, hello, make_tar({"etc/more": b"more\n"})]), "derived"),
        named(both, "both"),
    ])  # fmt: skip
    return maker.root


@pytest.fixture(scope="module")
def registry(host: EngineHost, layout: Path) -> Iterator[str]:
    with docker_registry(host.base / "registry") as address:
        push(layout, "base", f"{address}/source/image:1.0")
        push(layout, "derived", f"{address}/source/image:1.1")
        push(layout, "both", f"{address}/source/many:1", "--all")
        yield address


@pytest.fixture
def shell(host: EngineHost, tmp_path: Path) -> Shell:
    """``sampan`` with a store and a home of its own."""

    def run(*words: str, code: int = 0, **more: Any) -> "subprocess.CompletedProcess[str]":
        own = {"SAMPAN_STORE": str(tmp_path / "store"), "HOME": str(tmp_path)}
        done = host.run(*words, variables={**own, **more.pop("variables", {})}, **more)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspect(reference: str, *options: str) -> Any:
    return json.loads(skopeo("inspect", "--tls-verify=false", *options, f"docker://{reference}"))


def manifest_of(reference: str) -> Any:
    return inspect(reference, "--raw")


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ((), "tar+gzip"),
        (("--compression", "zstd"), "tar+zstd"),
        (("--compression", "none"), "v1.tar"),
        (("--format", "v2s2", "--compression", "gzip"), "diff.tar.gzip"),
    ],
)
def test_a_pushed_image_is_the_same_image_to_skopeo_and_to_us(
    options: tuple[str, ...], ending: str, shell: Shell, registry: str, layout: Path, tmp_path: Path
) -> None:
    shell("import", f"oci:{layout}:base", "local:1")
    name = f"{registry}/push/{ending.replace('+', '').replace('.', '')}:1"
    done = shell("push", *options, "--digestfile", str(tmp_path / "digest"), "local:1", name)
    digest = done.stdout.strip()
    assert (tmp_path / "digest").read_text() == digest
    if ending != "tar+zstd":  # skopeo 1.9 names only what it can read
        assert inspect(name)["Digest"] == digest
    manifest = manifest_of(name)
    assert all(layer["mediaType"].endswith(ending) for layer in manifest["layers"])
    image_id = json.loads(shell("inspect", "local:1").stdout)[0]["Id"]
    assert manifest["config"]["digest"] == image_id
    other = {"SAMPAN_STORE": str(tmp_path / "other")}
    assert shell("pull", "-q", name, variables=other).stdout.strip() == image_id
    ran = shell("run", "--rm", name, variables=other)
    assert ran.stdout == "hello again\n"


def test_what_is_there_is_not_sent_and_what_is_elsewhere_is_mounted(
    shell: Shell, registry: str, layout: Path
) -> None:
    shell("import", f"oci:{layout}:base", "local:1")
    shell("import", f"oci:{layout}:derived", "local:2")
    first = shell("push", "local:1", f"{registry}/twice/a:1").stderr
    assert first.count(": sent") == 2
    again = shell("push", "local:1", f"{registry}/twice/a:2").stderr
    assert again.count("already there") == 2
    derived = shell("push", "local:2", f"{registry}/twice/a:3").stderr
    assert (derived.count("already there"), derived.count(": sent")) == (2, 1)
    other = shell("push", "local:2", f"{registry}/twice/b:1").stderr
    assert other.count("in another repository") == 3
    assert len({inspect(f"{registry}/twice/{tag}")["Digest"] for tag in ("a:1", "a:2")}) == 1


def test_layers_that_came_from_the_registry_go_back_as_they_were(
    shell: Shell, registry: str, tmp_path: Path
) -> None:
    shell("pull", "-q", f"{registry}/source/image:1.0")
    shell("tag", f"{registry}/source/image:1.0", f"{registry}/back/image:1")
    pushed = shell("push", f"{registry}/back/image:1").stderr
    assert pushed.count("in another repository") == 2
    before, after = (manifest_of(f"{registry}/{name}") for name in ("source/image:1.0", "back/image:1"))  # fmt: skip
    assert [one["digest"] for one in before["layers"]] == [one["digest"] for one in after["layers"]]


def test_a_push_wants_a_name_that_it_can_give(shell: Shell, registry: str, layout: Path) -> None:
    image_id = shell("import", "-q", f"oci:{layout}:base", "local:1").stdout.strip()
    refused = shell("push", image_id[7:19], code=125).stderr
    assert "under which name" in refused
    pinned = shell("push", "local:1", f"{registry}/x@{image_id}", code=125).stderr
    assert "sampan copy" in pinned
    assert "no image none:1 in the store" in shell("push", "none:1", code=125).stderr


def test_a_push_by_an_ordinary_user_from_anothers_store(host: EngineHost, registry: str) -> None:
    store = {"SAMPAN_STORE": str(host.home("ordinary") / "store")}
    tree = host.home("ordinary") / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    made = host.run("import", str(tree), "mine:1", user="ordinary", variables=store)
    assert made.returncode == 0, made.stderr
    done = host.run("push", "mine:1", f"{registry}/ordinary/x:1", user="ordinary", variables=store)
    assert done.returncode == 0, done.stderr


def test_podman_unpacks_what_was_pushed(
    shell: Shell, registry: str, layout: Path, tmp_path: Path
) -> None:
    shell("import", f"oci:{layout}:base", "local:1")
    shell("push", "local:1", f"{registry}/podman/x:1")
    with podman() as run:
        run("pull", "-q", "--tls-verify=false", f"{registry}/podman/x:1")
        # Its containers need cgroups that not every machine has; its file systems do not.
        made = run("create", "--network=none", f"{registry}/podman/x:1").strip()
        run("cp", f"{made}:/etc/hello", str(tmp_path / "hello"))
        run("rm", made)
        identity = run("inspect", "--format", "{{.Id}}", f"{registry}/podman/x:1").strip()
    assert (tmp_path / "hello").read_text() == "hello again\n"
    assert f"sha256:{identity}" == manifest_of(f"{registry}/podman/x:1")["config"]["digest"]


def test_an_image_is_copied_as_it_is(shell: Shell, registry: str) -> None:
    source = f"{registry}/source/image:1.0"
    digest = inspect(source)["Digest"]
    done = shell("copy", source, f"{registry}/copied/image:2")
    assert done.stdout.strip() == digest == inspect(f"{registry}/copied/image:2")["Digest"]
    assert done.stderr.count("in another repository") == 3
    again = shell("copy", source, f"docker://{registry}/copied/image:2")
    assert "sent" not in again.stderr
    assert "in another" not in again.stderr


def test_an_index_is_copied_whole_or_one_of_its_images(
    shell: Shell, registry: str, layout: Path
) -> None:
    source = f"{registry}/source/many:1"
    whole = sha256(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{source}").encode())
    assert shell("copy", "--all", source, f"{registry}/all/many:1").stdout.strip() == whole
    assert len(manifest_of(f"{registry}/all/many:1")["manifests"]) == 3
    one = shell("copy", "--platform", "linux/arm64", source, f"{registry}/one/many:1")
    (arm,) = [
        entry["digest"] for entry in manifest_of(source)["manifests"]
        if entry["platform"]["architecture"] == "arm64"
    ]  # fmt: skip
    assert one.stdout.strip() == arm
    refused = shell("copy", "--platform", "linux/s390x", source, f"{registry}/no/many:1", code=125)
    assert "no image for linux/s390x" in refused.stderr


def test_layouts_and_their_archives_are_ends_of_a_copy(
    shell: Shell, registry: str, tmp_path: Path
) -> None:
    source = f"{registry}/source/many:1"
    directory, archive = tmp_path / "layout", tmp_path / "layout.tar"
    digest = shell("copy", "-a", source, f"oci:{directory}:many").stdout.strip()
    shell("copy", f"{registry}/source/image:1.0", f"oci:{directory}:image")
    shell("copy", "-a", f"oci:{directory}:many", f"oci-archive:{archive}:many")
    assert shell("copy", "-a", f"oci-archive:{archive}:many", f"{registry}/back/many:1").stdout.strip() == digest  # fmt: skip
    for place in (f"oci:{directory}:image", f"oci-archive:{archive}:many"):
        assert json.loads(skopeo("inspect", place))["Digest"].startswith("sha256:")
    refused = shell("copy", source, f"oci-archive:{archive}:x", code=125)
    assert "is there already" in refused.stderr
    assert "sampan load" in shell("copy", "docker-archive:x", source, code=125).stderr


def test_a_mirror_copies_what_is_new_and_reports(
    shell: Shell, registry: str, tmp_path: Path
) -> None:
    (tmp_path / "list").write_text(
        f"{registry}/source/image   # all its tags\n{registry}/source/many:1\n{registry}/nothing\n"
    )
    target = f"{registry}/mirror"
    dry = shell("mirror", "--dry-run", f"@{tmp_path}/list", target, code=1)
    assert "3 wanted, 1 failed" in dry.stdout
    first = shell("mirror", f"@{tmp_path}/list", target, code=1)
    assert "3 copied, 1 failed" in first.stdout
    assert "nothing" in first.stderr
    again = shell("mirror", "--json", f"@{tmp_path}/list", target, code=1)
    report = json.loads(again.stdout)
    assert [one["outcome"] for one in report] == ["present"] * 3 + ["failed"]
    one = shell("mirror", "--tags", "*.1", f"{registry}/source/image", f"oci:{tmp_path}/carry")
    assert one.stdout.startswith("copied")
    name = f"oci:{tmp_path}/carry:{registry}/source/image:1.1"
    shell("copy", name, f"{registry}/carried/image:1")
    assert (
        inspect(f"{registry}/carried/image:1")["Digest"]
        == inspect(f"{registry}/source/image:1.1")["Digest"]
    )


def test_saved_images_are_what_podman_and_skopeo_take(
    shell: Shell, layout: Path, tmp_path: Path
) -> None:
    shell("import", f"oci:{layout}:base", "local/one:1")
    shell("import", f"oci:{layout}:derived", "nvcr.io/org/two:2")
    shell("tag", "local/one:1", "nvcr.io/org/one:x")
    docker, oci = tmp_path / "docker.tar", tmp_path / "oci.tar"
    shell("save", "-o", str(docker), "local/one:1", "nvcr.io/org/one:x", "nvcr.io/org/two:2")
    shell("save", "--format", "oci-archive", "-o", str(oci), "nvcr.io/org/two:2")
    with docker.open("rb") as pipe:
        piped = subprocess.run(
            [sys.executable, "-m", "sampan", "load", "-q"],
            stdin=pipe,
            env={**os.environ, "SAMPAN_STORE": str(tmp_path / "other")},
            capture_output=True,
            text=True,
        )
    assert piped.stdout.count("Loaded image: ") == 3, piped.stderr
    image_id = json.loads(shell("inspect", "nvcr.io/org/two:2").stdout)[0]["Id"]
    for place in (f"docker-archive:{docker}:nvcr.io/org/two:2", f"oci-archive:{oci}"):
        raw = skopeo("inspect", "--config", "--raw", place)
        assert sha256(raw.encode()) == image_id
    with podman() as run:
        run("load", "-q", "-i", str(docker))
        run("load", "-q", "-i", str(oci))
        listed = run("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    assert f"nvcr.io/org/two:2 {image_id}" in listed
    assert "nvcr.io/org/one:x" in listed


def test_a_sif_file_goes_to_a_registry_and_back(
    shell: Shell, registry: str, layout: Path, tmp_path: Path
) -> None:
    shell("import", f"oci:{layout}:base", "local:1")
    place = f"oras://{registry}/sif/image:1"
    shell("push", "local:1", place)
    manifest = manifest_of(place.removeprefix("oras://"))
    assert manifest["config"]["mediaType"] == "application/vnd.sylabs.sif.config.v1+json"
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.sylabs.sif.layer.v1.sif"
    assert layer["annotations"] == {"org.opencontainers.image.title": "local_1.sif"}
    target = tmp_path / "here.sif"
    assert shell("pull", place, str(target)).stdout.strip() == str(target)
    assert sha256(target.read_bytes()) == layer["digest"]
    refused = shell("pull", place, str(target), code=125)
    assert f"sampan pull --force {place} {target}" in refused.stderr
    shell("pull", "--force", place, str(target))
    again = shell("push", str(target), f"oras://{registry}/sif/image:2").stderr
    assert "already there" in again
    no_sif = shell("pull", f"oras://{registry}/source/image:1.0", str(tmp_path / "x"), code=125)
    assert "is no SIF file" in no_sif.stderr
    (tmp_path / "text.sif").write_text("no SIF")
    assert "SIF" in shell("push", str(tmp_path / "text.sif"), place, code=125).stderr


def test_apptainer_pulls_ours_and_we_pull_theirs(
    shell: Shell, registry: str, layout: Path, tmp_path: Path
) -> None:
    script = ROOT / "scripts" / "apptainer-sid"
    visible = Path(tempfile.mkdtemp(prefix="sampan-oras-"))
    visible.chmod(0o777)
    try:
        probe = subprocess.run([script, "version"], cwd=visible, capture_output=True, text=True)
        if probe.returncode != 0:
            said = (probe.stderr or probe.stdout).strip().splitlines()
            pytest.skip(f"apptainer cannot be started here: {said[-1] if said else ''}")

        def apptainer(*words: str) -> None:
            done = subprocess.run([script, *words], cwd=visible, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr

        shell("import", f"oci:{layout}:base", "local:1")
        shell("push", "local:1", f"oras://{registry}/apptainer/ours:1")
        apptainer("pull", "--no-https", "ours.sif", f"oras://{registry}/apptainer/ours:1")
        apptainer("push", "--no-https", "-U", "ours.sif", f"oras://{registry}/apptainer/theirs:1")
        target = tmp_path / "theirs.sif"
        shell("pull", f"oras://{registry}/apptainer/theirs:1", str(target))
        assert target.read_bytes() == (visible / "ours.sif").read_bytes()
    finally:
        shutil.rmtree(visible, ignore_errors=True)


def test_referrers_are_listed_from_the_fallback_tag_and_cosigns(
    shell: Shell, registry: str, tmp_path: Path
) -> None:
    digest = inspect(f"{registry}/source/image:1.0")["Digest"]
    maker = LayoutMaker(tmp_path / "about")
    sbom = maker.add_image([b"{}"], compress=bytes, layer_type="text/spdx")
    sbom["artifactType"] = "application/spdx+json"
    signature = maker.add_image([b"sig"], compress=bytes, layer_type="text/sig")
    index = maker.add_list([sbom])
    maker.write_index([named(sbom, "sbom"), named(index, "list"), named(signature, "sig")])
    repository = f"{registry}/source/image"
    tag = digest.replace(":", "-")
    shell("copy", f"oci:{maker.root}:sbom", f"{repository}:sbom")
    shell("copy", "-a", f"oci:{maker.root}:list", f"{repository}:{tag}")
    shell("copy", f"oci:{maker.root}:sig", f"{repository}:{tag}.sig")
    listed = json.loads(shell("referrers", "--json", f"{repository}:1.0").stdout)
    assert [(one["kind"], one["tag"]) for one in listed] == [
        ("application/spdx+json", ""),
        ("signature", f"{tag}.sig"),
    ]
    only = shell("referrers", "--artifact-type", "signature", f"{repository}:1.0").stdout
    assert signature["digest"] in only
    assert sbom["digest"] not in only


@contextlib.contextmanager
def podman() -> Iterator[Callable[..., str]]:
    """Podman with a storage of its own."""
    require_programs("podman")
    # Podman's paths must be short.
    base = Path(tempfile.mkdtemp(prefix="sampan-podman-", dir="/tmp"))
    own = [
        "podman",
        "--root",
        f"{base}/root",
        "--runroot",
        f"{base}/run",
        "--storage-driver",
        "vfs",
    ]

    def run(*words: str) -> str:
        done = subprocess.run([*own, *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        yield run
    finally:
        subprocess.run([*own, "rmi", "-af"], capture_output=True, timeout=120)
        shutil.rmtree(base, ignore_errors=True)
