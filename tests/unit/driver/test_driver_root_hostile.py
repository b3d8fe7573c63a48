"""Whatever lies below a driver root, looking at it ends, and quickly reads little."""

import json
import os
from pathlib import Path

import pytest

from sampan.driver.bounded import list_matching, list_names, read_regular
from sampan.driver.unknown import judge_files
from support.driver_host import FakeHost, make_elf, make_plain_host

V = "580.95.05"
DESCRIPTION = "/usr/share/vulkan/icd.d/nvidia_icd.json"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_plain_host(tmp_path, V)


def make_fifo(host: FakeHost, path: str) -> None:
    target = host.root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(target)


def test_fifos_in_every_place_of_the_driver_are_not_waited_for(host: FakeHost) -> None:
    for path in (
        "/etc/ld.so.cache",
        "/etc/os-release",
        DESCRIPTION,
        "/etc/OpenCL/vendors/nvidia.icd",
        "/usr/bin/nvidia-smi",
        f"/usr/lib64/libnvidia-ml.so.{V}",
        "/usr/lib64/xorg/modules/drivers/nvidia_drv.so",
        f"/usr/lib64/xorg/modules/extensions/libglxserver_nvidia.so.{V}",
        f"/lib/firmware/nvidia/{V}/gsp_ga10x.bin",
        "/run/nvidia-persistenced/socket",
        "/usr/share/nvidia/nvoptix.bin",
    ):
        make_fifo(host, path)
    inventory = host.take()
    assert [library.name for library in inventory.libraries] == [f"libcuda.so.{V}"]
    assert inventory.configurations == inventory.binaries == inventory.firmware == ()
    assert inventory.modules == inventory.sockets == ()
    assert [found.path for found in judge_files(inventory) if found.fate == "unknown"] == []


def test_a_description_of_terabytes_is_not_read(host: FakeHost) -> None:
    target = host.add_file(DESCRIPTION, b"{")
    os.truncate(target, 1 << 42)
    (found,) = host.take().configurations
    assert found.text == ""


@pytest.mark.parametrize(
    "content",
    [b"[" * 60_000, b'{"ICD": ' * 5_000, b"\xff\xfe{}", b'{"ICD": []}', b'{"layers": {}}', b"null"],
)
def test_a_description_that_no_loader_could_read_is_taken_as_it_is(
    host: FakeHost, content: bytes
) -> None:
    host.add_file(DESCRIPTION, content)
    (found,) = host.take().configurations
    assert found.text == ""


def test_a_library_of_terabytes_costs_its_headers(host: FakeHost) -> None:
    target = host.add_file(f"/usr/lib64/libnvidia-ml.so.{V}", make_elf("libnvidia-ml.so.1"))
    os.truncate(target, 1 << 42)
    assert f"libnvidia-ml.so.{V}" in {library.name for library in host.take().libraries}


def test_loops_of_links_end(host: FakeHost) -> None:
    host.add_link("/usr/lib/x86_64-linux-gnu", "../lib/loop")
    host.add_link("/usr/lib/loop", "x86_64-linux-gnu")
    host.add_link("/usr/share/nvidia", "/usr/share/nvidia")
    host.add_link(f"/usr/lib64/libnvidia-ml.so.{V}", f"libnvidia-ml.so.{V}")
    host.add_link("/usr/lib64/nvidia", ".")
    inventory = host.take()
    assert [library.name for library in inventory.libraries] == [f"libcuda.so.{V}"]
    verdicts = {found.path: found for found in judge_files(inventory)}
    assert verdicts[f"/usr/lib64/libnvidia-ml.so.{V}"].fate == "left out"
    assert verdicts["/usr/share/nvidia"].fate == "left out"


def test_links_out_of_the_driver_root_stay_inside_it(host: FakeHost) -> None:
    host.add_link("/usr/share/vulkan", "../../../../../../../../outside")
    host.add_file("/outside/icd.d/nvidia_icd.json", json.dumps({}).encode())
    (found,) = host.take().configurations
    assert host.inner(found.host_path) == "/outside/icd.d/nvidia_icd.json"


def test_a_directory_of_very_many_names_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.driver.bounded.MAXIMUM_NAMES", 3)
    for number in range(10):
        (tmp_path / str(number)).touch()
    assert len(list_names(str(tmp_path))) == 3


def test_only_regular_files_of_the_allowed_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(str(tmp_path / "file"), 5) == b"12345"
    assert read_regular(str(tmp_path / "file"), 4) is None
    assert read_regular(str(tmp_path), 5) is None
    assert read_regular("/dev/zero", 5) is None
    assert read_regular("/nosuch\0name", 5) is None


def test_a_pattern_lists_what_begins_so(tmp_path: Path) -> None:
    for name in ("nvidia-361", "nvidia-384", "other"):
        (tmp_path / name).mkdir()
    assert list_matching(str(tmp_path), "nvidia-*") == ["nvidia-361", "nvidia-384"]
    assert list_matching(str(tmp_path), "absent") == ["absent"]


def test_a_tree_of_very_many_files_is_judged_in_part_and_says_so(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.driver.unknown.MAXIMUM_FILES", 5)
    for number in range(20):
        host.add_file(f"/usr/share/doc/{number}")
    verdicts = judge_files(host.take())
    assert len(verdicts) == 6
    assert (verdicts[-1].path, verdicts[-1].fate) == ("/", "unknown")
    assert "not all" in verdicts[-1].reason
