"""What is imported on request only, platforms other than PCI cards, and links to DRI nodes."""

from pathlib import Path

import pytest

from sampan.driver.absence import NoDriverError, require_driver
from sampan.model.inventory import EXTRA_KINDS, DriverLink, Extra
from support.driver_host import FakeHost, make_plain_host

V = "580.95.05"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_plain_host(tmp_path, V)


def extras(host: FakeHost) -> dict[str, Extra]:
    return {extra.kind: extra for extra in host.take().extras}


def add_capability(host: FakeHost, file: str, minor: int) -> None:
    target = host.proc / "driver" / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n")
    host.add_node(f"/dev/nvidia-caps/nvidia-cap{minor}", 241, minor, mode=0o400)


def test_a_plain_host_has_none_of_them(host: FakeHost) -> None:
    assert host.take().extras == ()


def test_imex_channels_are_in_the_order_of_their_numbers(host: FakeHost) -> None:
    for number in (10, 2, 0):
        host.add_node(f"/dev/nvidia-caps-imex-channels/channel{number}", 242, number)
    assert [node.minor for node in extras(host)["imex"].nodes] == [0, 2, 10]


def test_the_imex_managers_capability_is_apart_from_the_channels(host: FakeHost) -> None:
    add_capability(host, "nvidia/capabilities/fabric-imex-mgmt", 4323)
    found = extras(host)
    assert "imex" not in found
    (node,) = found["fabric-imex-mgmt"].nodes
    assert node.path == "/dev/nvidia-caps/nvidia-cap4323"


def test_switches_come_without_the_right_to_configure_the_fabric(host: FakeHost) -> None:
    for name, numbers in (
        ("nvswitch0", (239, 0)), ("nvswitch1", (239, 1)), ("nvswitchctl", (239, 255)), ("nvlink", (240, 0)),
    ):  # fmt: skip
        host.add_node(f"/dev/nvidia-{name}", *numbers)
    add_capability(host, "nvidia-nvlink/capabilities/fabric-mgmt", 0)
    assert [node.path for node in extras(host)["nvswitch"].nodes] == [
        "/dev/nvidia-nvswitchctl",
        "/dev/nvidia-nvswitch0",
        "/dev/nvidia-nvswitch1",
    ]
    assert [node.path for node in extras(host)["fabric-mgmt"].nodes] == [
        "/dev/nvidia-nvlink",
        "/dev/nvidia-caps/nvidia-cap0",
    ]


def test_nvlink_alone_is_no_switch(host: FakeHost) -> None:
    host.add_node("/dev/nvidia-nvlink", 240, 0)
    assert "nvswitch" not in extras(host)


def test_gpudirect_storage_has_nodes_configuration_and_udevs_directory(host: FakeHost) -> None:
    for number in (0, 1):
        host.add_node(f"/dev/nvidia-fs{number}", 500, number)
    host.add_file("/etc/cufile.json", b"{}")
    (host.root / "run/udev").mkdir(parents=True)
    gds = extras(host)["gds"]
    assert [node.path for node in gds.nodes] == ["/dev/nvidia-fs0", "/dev/nvidia-fs1"]
    assert [(file.directory, file.name) for file in gds.files] == [
        ("/etc", "cufile.json"),
        ("/run", "udev"),
    ]


def test_a_configuration_of_gpudirect_storage_without_its_nodes_is_nothing(host: FakeHost) -> None:
    host.add_file("/etc/cufile.json", b"{}")
    assert extras(host) == {}


def test_infiniband_and_gdrcopy_are_found_by_their_nodes(host: FakeHost) -> None:
    host.add_node("/dev/infiniband/uverbs0", 231, 192)
    host.add_node("/dev/infiniband/rdma_cm", 10, 58)
    host.add_node("/dev/infiniband/umad0", 231, 0)
    host.add_node("/dev/gdrdrv", 234, 0)
    found = extras(host)
    assert [node.path for node in found["mofed"].nodes] == [
        "/dev/infiniband/uverbs0",
        "/dev/infiniband/rdma_cm",
    ]
    assert [node.path for node in found["gdrcopy"].nodes] == ["/dev/gdrdrv"]
    assert list(found) == sorted(found, key=EXTRA_KINDS.index)


def test_a_capability_without_its_node_is_not_offered(host: FakeHost) -> None:
    host.add_proc("capabilities/mig/config", "DeviceFileMinor: 1\n")
    assert extras(host) == {}


@pytest.mark.parametrize("target", ["../renderD128", "/somewhere/dev/dri/renderD128"])
def test_by_path_links_never_carry_the_dev_roots_path(host: FakeHost, target: str) -> None:
    host.add_gpu(0)
    (host.sys / "bus/pci/devices/0000:00:00.0/drm/renderD128").mkdir(parents=True)
    host.add_node("/dev/dri/renderD128", 226, 128)
    host.add_link("/dev/dri/by-path/pci-0000:00:00.0-render", target)
    host.add_link("/dev/dri/by-path/pci-0000:0f:00.0-render", "../renderD129")
    (gpu,) = host.take().gpus
    link = DriverLink("/dev/dri/by-path/pci-0000:00:00.0-render", "../renderD128")
    assert gpu.links == (link,)


def test_a_node_that_the_device_cgroup_denies_drops_its_gpu_alone(host: FakeHost) -> None:
    host.add_gpu(0)
    host.add_gpu(1)
    host.forbidden.add("/dev/nvidia0")
    inventory = host.take()
    assert [gpu.minor for gpu in inventory.gpus] == [1]
    assert "/dev/nvidia0 may not be used" in inventory.warnings[0]


def test_an_excluded_gpu_is_not_listed(host: FakeHost) -> None:
    host.add_gpu(0)
    host.add_gpu(1)
    file = host.proc / "driver/nvidia/gpus/0000:00:00.0/information"
    file.write_text(file.read_text() + "GPU Excluded:\t Yes\n")
    assert [gpu.minor for gpu in host.take().gpus] == [1]


def test_windows_gpus_are_behind_one_node(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.add_node("/dev/dxg", 10, 127)
    inventory = host.take()
    assert [node.path for node in inventory.control_nodes] == ["/dev/dxg"]
    assert [(gpu.minor, gpu.nodes) for gpu in inventory.gpus] == [(-1, ())]


def test_windows_without_the_drivers_libraries_is_told_to_update_it(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.add_node("/dev/dxg", 10, 127)
    with pytest.raises(NoDriverError) as refusal:
        require_driver(host.take())
    assert "libcuda.so.1" in refusal.value.evidence
    assert "kernel module" not in refusal.value.evidence
    assert "Windows" in refusal.value.remedy


def make_tegra(host: FakeHost) -> None:
    for path in ("/dev/nvmap", "/dev/nvhost-gpu", "/dev/nvgpu/igpu0/ctrl", "/dev/dri/card0"):
        host.add_node(path, 505, 1)
    host.add_node("/dev/tty0", 4, 0)


def release(host: FakeHost) -> None:
    host.add_file("/etc/nv_tegra_release", b"# R36 (release), REVISION: 4.0\n")


def device_tree(host: FakeHost) -> None:
    tree = host.proc / "device-tree"
    tree.mkdir()
    (tree / "compatible").write_bytes(b"nvidia,p3737-0000\0nvidia,tegra234\0")
    (tree / "model").write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")


def soc_family(host: FakeHost) -> None:
    soc = host.sys / "devices/soc0"
    soc.mkdir(parents=True)
    (soc / "family").write_text("Tegra\n")


@pytest.mark.parametrize("mark", [release, device_tree, soc_family], ids=lambda m: m.__name__)
def test_a_tegra_board_is_known_by_its_release_file_device_tree_or_chip(
    tmp_path: Path, mark: object
) -> None:
    host = FakeHost(tmp_path)
    make_tegra(host)
    mark(host)  # type: ignore[operator]
    host.add_library("/usr/lib64/libcuda.so.1", "libcuda.so.1")
    inventory = host.take()
    paths = [node.path for node in inventory.control_nodes]
    assert paths == ["/dev/nvhost-gpu", "/dev/nvmap", "/dev/nvgpu/igpu0/ctrl"]
    (gpu,) = inventory.gpus
    assert [node.path for node in gpu.nodes] == ["/dev/dri/card0"]


def test_the_board_names_its_gpu(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    make_tegra(host)
    device_tree(host)
    assert host.take().gpus[0].name == "NVIDIA Jetson AGX Orin Developer Kit"


def test_a_tegra_board_with_a_discrete_gpu_counts_as_discrete(host: FakeHost) -> None:
    release(host)
    host.add_gpu(0)
    assert host.take().platform == "discrete"
