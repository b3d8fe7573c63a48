"""A driver root, lists and CDI directories that somebody else filled: odd things, names that lie."""

import json
import os
import time
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.driver.cdi_files import find_spec_files, write_spec_file
from sampan.driver.cdi_yaml import MAXIMUM_BYTES, CdiTextError, parse_text
from sampan.driver.roots import Root
from sampan.driver.tegra import find_tegra_files
from sampan.injection.cdi_document import CdiDocumentError, decode_spec
from support.described_host import make_described_host
from support.driver_host import FakeHost
from support.hostile import ODD_KINDS, plant, take_snapshot

V = "580.95.05"
NAME = "x\n\x1b]0;owned\x07\u202e\nerror[x]: y"
LISTS = "/etc/nvidia-container-runtime/host-files-for-container.d"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "outside"
    (place / "icd.d").mkdir(parents=True)
    (place / "icd.d/nvidia_icd.json").write_text("{}")
    (place / f"libcuda.so.{V}").write_text("not the driver's")
    return place


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_odd_things_in_every_place_of_a_driver_root_end_the_search_inside_it(
    tmp_path: Path, outside: Path, kind: str
) -> None:
    host = FakeHost(tmp_path / "machine")
    host.load_module(V)
    host.add_control_nodes()
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    for place in (
        "etc/ld.so.cache", "etc/os-release", "etc/OpenCL", "etc/vulkan/icd.d/nvidia_icd.json",
        "usr/share/glvnd/egl_vendor.d", "usr/share/nvidia", f"usr/lib64/libnvidia-ml.so.{V}",
        "usr/bin/nvidia-smi", f"lib/firmware/nvidia/{V}", "run/nvidia-persistenced/socket",
        "usr/lib/x86_64-linux-gnu", "etc/nvidia-container-runtime", "usr/lib64/xorg",
    ):  # fmt: skip
        try:
            plant(host.root / place, kind, outside)
        except PermissionError:
            pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
    before = take_snapshot(outside)
    inventory = host.take()
    root = str(host.root.resolve())
    parts = (*inventory.libraries, *inventory.binaries, *inventory.configurations,
             *inventory.firmware, *inventory.modules, *inventory.sockets)  # fmt: skip
    assert {library.name for library in inventory.libraries} == {f"libcuda.so.{V}"}
    for part in parts:
        assert part.host_path.startswith(f"{root}/"), part
        assert os.path.realpath(part.host_path).startswith(f"{root}/"), part
    assert take_snapshot(outside) == before


def test_the_kernels_firmware_path_is_looked_up_inside_the_driver_root(
    tmp_path: Path, outside: Path
) -> None:
    host = FakeHost(tmp_path / "machine")
    host.load_module(V)
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    (outside / f"nvidia/{V}").mkdir(parents=True)
    (outside / f"nvidia/{V}/gsp_ga10x.bin").write_text("not the driver's")
    parameters = host.sys / "module/firmware_class/parameters"
    parameters.mkdir(parents=True)
    for said in (str(outside), f"/../../../../../../../..{outside}", "relative", "/\0", "x" * 9000):
        (parameters / "path").write_text(f"{said}\n")
        assert host.take().firmware == ()


def test_names_of_files_command_no_terminal_and_begin_no_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = make_described_host(tmp_path, "two-gpus")
    version = host.take(nvml=False).driver_version
    for place in ("usr/lib64", "usr/share/nvidia", "etc/OpenCL/vendors", "usr/bin"):
        (host.root / place).mkdir(parents=True, exist_ok=True)
        (host.root / place / f"nvidia{NAME.replace('/', '')}").write_text("x")
    (host.root / "usr/lib64" / f"libnvidia-{NAME.replace('/', '')}.so.{version}").write_text("x")
    roots = ["--driver-root", str(host.root), "--dev-root", str(host.root)]
    for words in (["driver"], ["driver", "--unknown"], ["driver", "--all"]):
        main([*words, *roots])
        said = capsys.readouterr()
        for text in (said.out, said.err):
            assert all(one.isprintable() or one == "\n" for one in text), ascii(text)
            assert not any(line.startswith("error[x]") for line in text.splitlines())


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_an_odd_thing_instead_of_a_jetsons_list_is_left_out(
    tmp_path: Path, outside: Path, kind: str
) -> None:
    root = tmp_path / "root"
    try:
        plant(root / LISTS.lstrip("/") / "devices.csv", kind, outside)
    except PermissionError:
        pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
    found = find_tegra_files(Root(str(root)), "aarch64")
    assert found.libraries == found.files == found.links == ()
    assert len(found.warnings) == 1


def test_a_jetsons_list_of_stars_ends(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / LISTS.lstrip("/")).mkdir(parents=True)
    for number in range(20):
        for inner in range(20):
            (root / f"d{number}/e{inner}").mkdir(parents=True, exist_ok=True)
    lines = "\n".join("lib, /" + "/".join(["*" * 20 + "?"] * 8) for _ in range(30))
    (root / LISTS.lstrip("/") / "l4t.csv").write_text(lines + "\nlib, /" + "[" * 4000)
    found = find_tegra_files(Root(str(root)), "aarch64")
    assert found.files == ()


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_an_odd_thing_in_a_cdi_directory_is_an_error_of_that_file_alone(
    tmp_path: Path, outside: Path, kind: str
) -> None:
    directory = tmp_path / "cdi"
    try:
        plant(directory / "a.yaml", kind, outside / "icd.d")
    except PermissionError:
        pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
    (directory / "b.json").write_text("{}")
    found = {Path(file.path).name: file for file in find_spec_files([str(directory)])}
    assert found["a.yaml"].document is None
    assert found["a.yaml"].error
    assert found["b.json"].document == {}


def test_a_document_is_written_beside_planted_temporaries_without_following_them(
    tmp_path: Path, outside: Path
) -> None:
    directory = tmp_path / "cdi"
    directory.mkdir(mode=0o777)
    before = take_snapshot(outside)
    for name in ("nvidia.yaml.part", ".nvidia.yaml.part", ".nvidia.yaml", "nvidia.yaml.tmp"):
        (directory / name).symlink_to(outside / "planted")
    write_spec_file(str(directory / "nvidia.yaml"), "kind: a/b\n")
    assert (directory / "nvidia.yaml").read_text() == "kind: a/b\n"
    assert not (directory / "nvidia.yaml").is_symlink()
    assert take_snapshot(outside) == before


BOMBS = {
    "objects in objects": (b'{"a":' * 200_000, True),
    "lists in lists": (b"[" * 2_000_000, True),
    "one member very often": (
        b"{" + b",".join(b'"%d":0' % number for number in range(300_000)) + b',"299999":0}', True
    ),
    "a number without end": (b'{"a":' + b"9" * 1_000_000 + b"}", True),
    "flow lists": (b"[" * 1_000_000, False),
    "keys of keys": (b"? " * 500_000, False),
    "lists of lists": (b"- " * 1_000_000, False),
    "a merge": (b"a: &a {b: c}\nd: {<<: *a}\n", False),
    "anchors": (b"a: &a [x,x]\n" + b"b: [*a,*a]\n", False),
    "an object of Python": (b"a: !!python/object/apply:os.system [id]\n", False),
    "many documents": (b"---\n{}\n" * 100_000, False),
    "too long": (b" " * (MAXIMUM_BYTES + 1), False),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_instead_of_cdi_documents_are_refused_before_they_cost_anything(name: str) -> None:
    text, is_json = BOMBS[name]
    began = time.process_time()
    with pytest.raises(CdiTextError):
        parse_text(text, is_json=is_json)
    # Not a measurement: the bombs would run for hours.
    assert time.process_time() - began < 30


def test_a_document_of_very_many_net_devices_of_one_name_is_judged_in_one_pass() -> None:
    names = [{"hostInterfaceName": f"e{number % 40_000}", "name": "x"} for number in range(60_000)]
    document = {
        "cdiVersion": "1.1.0", "kind": "a.b/c",
        "devices": [{"name": "0", "containerEdits": {"netDevices": names}}],
    }  # fmt: skip
    began = time.process_time()
    with pytest.raises(CdiDocumentError) as caught:
        decode_spec(json.loads(json.dumps(document)))
    assert len(caught.value.evidence) < 5000
    assert time.process_time() - began < 30
