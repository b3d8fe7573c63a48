"""Images from every kind of source, made by the tools people use, unpacked again by squashfs-tools."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.images.importer import ImportOptions, import_image
from sampan.images.sources import directory
from sampan.images.store import StoredImage
from sampan.images.store_layout import StoreLayout
from support.trees import describe_tree, differences, make_tree, unpack_sif

pytestmark = pytest.mark.integration

TOOLS = ("skopeo", "umoci", "unsquashfs", "tar")
for tool in TOOLS:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed", allow_module_level=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreLayout:
    monkeypatch.setenv("SAMPAN_STORE", str(tmp_path / "store"))
    return StoreLayout(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("made") / "rootfs")


@pytest.fixture(scope="module")
def layout(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of two layers by umoci: the tree, and a change of it."""
    root = tmp_path_factory.mktemp("umoci")
    path = root / "layout"
    run("umoci", "init", "--layout", path)
    run("umoci", "new", "--image", f"{path}:v1")
    run("umoci", "unpack", "--image", f"{path}:v1", root / "bundle")
    run("tar", "-C", tree, "--xattrs", "--xattrs-include=*", "-cf", root / "tree.tar", ".")
    run(
        "tar",
        "-C",
        root / "bundle/rootfs",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
        root / "tree.tar",
    )
    run("umoci", "repack", "--image", f"{path}:v1", root / "bundle")
    shutil.rmtree(root / "bundle")
    run("umoci", "unpack", "--image", f"{path}:v1", root / "bundle")
    (root / "bundle/rootfs/etc/added").write_text("added")
    (root / "bundle/rootfs/usr/share/f7").unlink()
    run("umoci", "repack", "--image", f"{path}:v1", root / "bundle")
    run("umoci", "config", "--image", f"{path}:v1", "--config.cmd=/bin/program")
    return path


@pytest.fixture(scope="module")
def oracle(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout's tree as umoci unpacks it."""
    target = tmp_path_factory.mktemp("oracle") / "bundle"
    run("umoci", "unpack", "--image", f"{layout}:v1", target)
    return target / "rootfs"


def run(*words: str | Path) -> bytes:
    done = subprocess.run([str(word) for word in words], capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def check(image: StoredImage, expected: Path, tmp_path: Path) -> None:
    unpacked = unpack_sif(Path(image.sif_path), tmp_path / f"unpacked-{image.digest[7:15]}")
    assert differences(expected, unpacked) == {}


def leftovers(store: StoreLayout) -> list[str]:
    return [path.name for path in Path(store.root).rglob(".tmp-*")]


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_a_layout_becomes_an_image_with_the_tree_that_umoci_unpacks(
    layout: Path, oracle: Path, store: StoreLayout, tmp_path: Path, compression: str
) -> None:
    image = import_image(
        f"oci:{layout}:v1", "a", store=store, options=ImportOptions(compression=compression)
    )
    check(image, oracle, tmp_path)
    config = json.loads(Path(image.config_path).read_bytes())
    assert config["config"]["Cmd"] == ["/bin/program"]
    assert leftovers(store) == []


def test_all_forms_of_one_image_are_one_image_whose_layers_are_packed_once(
    layout: Path, oracle: Path, store: StoreLayout, tmp_path: Path
) -> None:
    saved, archive, zipped = (tmp_path / name for name in ("docker.tar", "oci.tar", "docker.tgz"))
    run("skopeo", "copy", f"oci:{layout}:v1", f"docker-archive:{saved}:some/name:2")
    run("skopeo", "copy", f"oci:{layout}:v1", f"oci-archive:{archive}:v1")
    zipped.write_bytes(run("gzip", "-1c", saved))
    first = import_image(f"docker-archive:{saved}", "first", store=store)
    check(first, oracle, tmp_path)
    packs = sorted(os.listdir(store.packs("zstd")))
    sources = (f"oci:{layout}", str(archive), str(saved), f"oci-archive:{archive}:v1", str(zipped))
    for source in sources:
        assert import_image(source, "again", store=store).digest == first.digest
    assert sorted(os.listdir(store.packs("zstd"))) == packs
    assert import_image(str(saved), "", store=store).name == "docker.io/some/name:2"


def test_zstd_layers_are_read(
    layout: Path, oracle: Path, store: StoreLayout, tmp_path: Path
) -> None:
    copy = tmp_path / "zstd"
    run(
        *("skopeo", "copy", "--dest-compress", "--dest-compress-format", "zstd"),
        *(f"oci:{layout}:v1", f"oci:{copy}:v1"),
    )
    manifests = [
        path.read_bytes()
        for path in (copy / "blobs/sha256").iterdir()
        if path.stat().st_size < 100_000
    ]
    assert any(b"tar+zstd" in manifest for manifest in manifests)
    check(import_image(str(copy), "a", store=store), oracle, tmp_path)


@pytest.mark.parametrize("parts", [1, 8])
def test_a_directory_becomes_an_image_of_the_same_tree(
    tree: Path,
    store: StoreLayout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parts: int,
) -> None:
    if parts > 1:
        monkeypatch.setattr(directory, "PART_BYTES", 500_000)
    image = import_image(str(tree), "dir", store=store)
    layers = len(json.loads(Path(image.config_path).read_bytes())["rootfs"]["diff_ids"])
    assert (layers > 1) == (parts > 1)
    check(image, tree, tmp_path)
    assert import_image(str(tree), "again", store=store).digest == image.digest


@pytest.mark.parametrize("program", ["cat", "gzip -1c", "zstd -qc", "xz -0c"])
def test_a_root_file_systems_tar_is_read_however_it_is_compressed(
    tree: Path, store: StoreLayout, tmp_path: Path, program: str
) -> None:
    if shutil.which(program.split(maxsplit=1)[0]) is None:
        pytest.skip(f"{program.split(maxsplit=1)[0]} is not installed")
    tar = tmp_path / "rootfs.tar"
    run("tar", "-C", tree, "--xattrs", "--xattrs-include=*", "--sparse", "-cf", tar, ".")
    packed = tmp_path / "packed"
    packed.write_bytes(run(*program.split(), tar))
    check(import_image(str(packed), "tar", store=store), tree, tmp_path)


def test_standard_input_is_read_as_a_root_file_system(
    tree: Path, store: StoreLayout, tmp_path: Path
) -> None:
    with subprocess.Popen(
        ["tar", "-C", tree, "--xattrs", "--xattrs-include=*", "-c", "."], stdout=subprocess.PIPE
    ) as tar:
        done = subprocess.run(
            [sys.executable, "-c", "from sampan.cli.main import main; raise SystemExit(main())",
             "import", "-q", "-", "piped"],
            stdin=tar.stdout,
            capture_output=True,
            text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    digest = done.stdout.strip()
    image = StoredImage(digest, "", store.image_file(digest, "sif"), "", "")
    check(image, tree, tmp_path)


def test_changes_give_another_image_of_the_same_layers(layout: Path, store: StoreLayout) -> None:
    plain = import_image(str(layout), "plain", store=store)
    changed = import_image(
        str(layout), "changed", store=store, options=ImportOptions(changes=("USER 7", "ENV A=b"))
    )
    assert changed.digest != plain.digest
    run_part = json.loads(Path(changed.config_path).read_bytes())["config"]
    assert run_part["User"] == "7"
    assert "A=b" in run_part["Env"]
    assert run_part["Cmd"] == ["/bin/program"]


def test_the_same_image_in_another_compression_replaces_the_file(
    layout: Path, store: StoreLayout
) -> None:
    first = import_image(str(layout), "a", store=store)
    before = Path(first.sif_path).stat().st_ino
    options = ImportOptions(compression="gzip")
    assert import_image(str(layout), "a", store=store, options=options).digest == first.digest
    assert Path(first.sif_path).stat().st_ino != before


def test_images_made_twice_are_equal_byte_by_byte(layout: Path, tmp_path: Path) -> None:
    made = [
        import_image(str(layout), "a", store=StoreLayout(str(tmp_path / str(number))))
        for number in range(2)
    ]
    assert Path(made[0].sif_path).read_bytes() == Path(made[1].sif_path).read_bytes()
    assert Path(made[0].facts_path).read_bytes() == Path(made[1].facts_path).read_bytes()


@pytest.fixture
def shell(store: StoreLayout, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*words: str | Path, code: int = 0) -> str:
        assert main([str(word) for word in words]) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    return call


def test_the_commands_tell_one_story(
    layout: Path, tree: Path, shell: Callable[..., str], store: StoreLayout
) -> None:
    identity = shell("import", "-q", layout, "my/app:1.0").strip()
    other = shell("import", tree, "debian", "--change", 'CMD ["sh"]').strip()
    table = shell("images")
    assert table.splitlines()[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert "my/app" in table
    assert identity[7:19] in table
    assert set(shell("images", "-q", "--no-trunc").split()) == {identity, other}
    assert shell("images", "-q", "debian").split() == [other[7:19]]
    (listed,) = json.loads(shell("images", "--format", "json", "my/app:1.0"))
    assert listed["Id"] == identity
    (shown,) = json.loads(shell("inspect", "--type", "image", "my/app:1.0"))
    assert shown["Id"] == identity
    assert shown["RepoTags"] == ["my/app:1.0"]
    assert shown["RepoDigests"][0].startswith("my/app@sha256:")
    assert shown["Sampan"]["Source"] == f"oci:{layout}"
    pinned = shown["RepoDigests"][0]
    assert shell("inspect", "--type", "image", "-f", "{{.Id}}", pinned).strip() == identity
    assert (
        shell("inspect", "--type", "image", "-f", "{{json .Config.Cmd}}", other[7:19]) == '["sh"]\n'
    )
    # What the image does not set is there as docker shows it, not an unknown member.
    unset = shell("inspect", "-f", "{{json .Config.Env}} {{json .Config.User}}", other[7:19])
    assert unset == 'null ""\n'
    assert "no image nothing" in shell("inspect", "--type", "image", "nothing", code=1)
    assert shell("rmi", "debian") == f"Untagged: debian:latest\nDeleted: {other}\n"
    assert "error[image-not-found]" in shell("rmi", "debian", code=1)
    assert shell("prune", "--dry-run").splitlines()[-1].startswith("Would free")
    assert shell("prune").splitlines()[-1].startswith("Freed")
    assert shell("prune") == "Freed 0B\n"
    assert shell("images", "-q").split() == [identity[7:19]]
    assert describe_tree(Path(store.refs)).keys() == {".", "docker.io+my+app:1.0"}
