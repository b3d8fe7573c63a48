"""GPUs, nodes and sockets of a host; what is missing costs no more than itself."""

import socket
from pathlib import Path

import pytest

from sampan.driver.absence import NoDriverError, require_driver
from sampan.driver.procfs import is_driver_version, read_module_version
from support.driver_host import UUID, FakeHost, make_h200_host, make_plain_host

V = "580.95.05"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_plain_host(tmp_path, V)


def test_gpus_are_listed_from_proc_in_the_order_of_the_bus(host: FakeHost) -> None:
    host.add_gpu(1, "NVIDIA L4")
    host.add_gpu(0, "NVIDIA H200")
    gpus = host.take().gpus
    assert [(gpu.nvml_index, gpu.name, gpu.uuid) for gpu in gpus] == [
        (0, "NVIDIA H200", f"{UUID}0"),
        (1, "NVIDIA L4", f"{UUID}1"),
    ]


def test_a_gpu_without_its_node_is_dropped_alone_and_the_node_is_named(host: FakeHost) -> None:
    host.add_gpu(0)
    host.add_gpu(1, node=False)
    inventory = host.take()
    assert [gpu.minor for gpu in inventory.gpus] == [0]
    (warning,) = inventory.warnings
    assert "/dev/nvidia1 is missing" in warning
    assert "nvidia-modprobe" in warning


def test_a_plain_file_is_no_device_node(host: FakeHost) -> None:
    host.add_gpu(0, node=False)
    host.add_file("/dev/nvidia0", b"")
    assert host.take().gpus == ()


def test_a_uuid_that_the_module_does_not_know_yet_is_unknown(host: FakeHost) -> None:
    host.add_gpu(0)
    host.add_proc("gpus/0000:00:00.0/information", "GPU UUID: GPU-????????-????\nDevice Minor: 0\n")
    assert host.take().gpus[0].uuid == ""


def test_dri_nodes_come_through_sysfs(host: FakeHost) -> None:
    host.add_gpu(0)
    drm = host.sys / "bus/pci/devices/0000:00:00.0/drm"
    for name in ("card0", "renderD128", "controlD64"):
        (drm / name).mkdir(parents=True)
        host.add_node(f"/dev/dri/{name}", 226, 0, mode=0o660, gid=44)
    paths = [node.path for node in host.take().gpus[0].nodes]
    assert paths == ["/dev/nvidia0", "/dev/dri/card0", "/dev/dri/renderD128"]


def test_split_roots_keep_the_host_path_of_nodes(tmp_path: Path) -> None:
    host = make_h200_host(tmp_path)
    node = host.take().gpus[0].nodes[0]
    assert node.path == "/dev/nvidia0"
    assert node.host_path == f"{host.root}/dev/nvidia0"


def test_daemons_sockets_are_found_and_other_files_are_not(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add_file("/run/nvidia-fabricmanager/socket")
    directory = host.root / "run/nvidia-persistenced"
    directory.mkdir()
    monkeypatch.chdir(directory)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        found = host.take().sockets
    assert [host.inner(item.host_path) for item in found] == ["/run/nvidia-persistenced/socket"]


def test_an_mps_directory_behind_a_link_to_a_file_is_not_taken(host: FakeHost) -> None:
    host.add_file("/etc/shadow")
    host.add_link("/tmp/nvidia-mps", "/etc/shadow")
    assert host.take().sockets == ()


def test_open_and_proprietary_modules_say_their_version(tmp_path: Path) -> None:
    host = make_h200_host(tmp_path)
    assert read_module_version(str(host.proc)) == "580.159.04"
    assert read_module_version(str(tmp_path / "nothing")) == ""


@pytest.mark.parametrize(
    ("text", "expected"), [("580.95.05", True), ("535.86", True), ("1.1", False), ("580", False)]
)
def test_driver_versions_are_told_from_library_versions(text: str, expected: bool) -> None:
    assert is_driver_version(text) is expected


def test_a_machine_without_anything_says_what_it_lacks(tmp_path: Path) -> None:
    inventory = FakeHost(tmp_path).take()
    assert inventory.platform == "none"
    with pytest.raises(NoDriverError) as refusal:
        require_driver(inventory, wanted_by="--gpus all")
    error = refusal.value
    assert "--gpus all" in error.cause
    assert "/proc/driver/nvidia/version" in error.evidence
    assert "libcuda" in error.evidence
    assert "/dev/nvidiactl" in error.evidence
    assert "no NVIDIA display controller" in error.evidence
    assert "without --gpus all" in error.remedy


def test_hardware_without_a_driver_is_told_to_install_one(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.add_pci("0000:01:00.0")
    host.add_pci("0000:02:00.0", vendor="0x8086")
    host.add_pci("0000:03:00.0", kind="0x040300")
    with pytest.raises(NoDriverError) as refusal:
        require_driver(host.take())
    assert "0000:01:00.0" in refusal.value.evidence
    assert "0000:02:00.0" not in refusal.value.evidence
    assert "0000:03:00.0" not in refusal.value.evidence
    assert "install the NVIDIA driver" in refusal.value.remedy


def test_libraries_without_the_module_are_told_to_load_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    with pytest.raises(NoDriverError) as refusal:
        require_driver(host.take())
    assert "modprobe nvidia" in refusal.value.remedy
    assert "libcuda" not in refusal.value.evidence


def test_the_module_without_libraries_is_told_which_to_install(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_control_nodes()
    with pytest.raises(NoDriverError) as refusal:
        require_driver(host.take())
    assert V in refusal.value.remedy
    assert "libcuda1" in refusal.value.remedy


def test_a_complete_host_passes(host: FakeHost) -> None:
    require_driver(host.take())
