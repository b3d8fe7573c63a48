"""MIG devices, and what a MIG machine offers besides, through NVML and through procfs alone."""

from pathlib import Path

import pytest

from support.described_host import describe, instance_minor, make_described_host

pytestmark = pytest.mark.integration


def test_mig_devices_are_numbered_as_nvidia_smi_does_and_carry_their_profile(
    tmp_path: Path,
) -> None:
    first, whole, drawing, empty = make_described_host(tmp_path / "h", "mig").take(nvml=True).gpus
    assert [(mig.position, mig.profile) for mig in first.mig_devices] == [
        (0, "3g.40gb"), (1, "1c.2g.20gb"), (2, "1c.2g.20gb"), (3, "1g.10gb+me"),
    ]  # fmt: skip
    assert [mig.position for mig in drawing.mig_devices] == [0, 2]
    assert [mig.draws for mig in drawing.mig_devices] == [True, False]
    assert (whole.mig_enabled, whole.mig_devices) == (False, ())
    assert (empty.mig_enabled, empty.mig_devices) == (True, ())


@pytest.mark.parametrize(("part", "profile"), [(2, "2g.20gb"), (1, "1c.2g.20gb")])
def test_a_profile_that_the_name_does_not_say_is_made_of_the_slices(
    tmp_path: Path, part: int, profile: str
) -> None:
    description = describe("mig")
    mig = description["gpus"][0]["mig_devices"][1]
    del mig["profile"]
    mig.update(gpu_slices=2, compute_slices=part)
    gpu = make_described_host(tmp_path / "h", description).take(nvml=True).gpus[0]
    assert gpu.mig_devices[1].profile == profile


def test_a_mig_device_has_the_access_nodes_of_both_its_instances(tmp_path: Path) -> None:
    gpu = make_described_host(tmp_path / "h", "mig").take(nvml=True).gpus[0]
    one, other = gpu.mig_devices[1:3]
    shared = instance_minor(0, 5)
    assert [node.path for node in one.nodes] == [
        f"/dev/nvidia-caps/nvidia-cap{shared}",
        f"/dev/nvidia-caps/nvidia-cap{shared + 1}",
    ]
    assert one.nodes[0] == other.nodes[0]
    assert other.access_files == (
        "/proc/driver/nvidia/capabilities/gpu0/mig/gi5/access",
        "/proc/driver/nvidia/capabilities/gpu0/mig/gi5/ci1/access",
    )
    assert (one.uuid, one.memory_bytes >> 30) == ("MIG-00000011-aaaa-bbbb-cccc-000000000011", 20)


def test_capability_files_belong_to_the_minor_and_not_to_the_index(tmp_path: Path) -> None:
    description = describe("mig")
    description["gpus"][0]["minor"], description["gpus"][2]["minor"] = 2, 0
    gpu = make_described_host(tmp_path / "h", description).take(nvml=True).gpus[0]
    assert gpu.nvml_index == 0
    assert "/gpu2/mig/" in gpu.mig_devices[0].access_files[0]


def test_a_mig_device_without_its_node_is_dropped_alone_and_the_node_is_named(
    tmp_path: Path,
) -> None:
    description = describe("mig")
    description["gpus"][0]["mig_devices"][0]["cap_nodes"] = False
    inventory = make_described_host(tmp_path / "h", description).take(nvml=True)
    assert [mig.position for mig in inventory.gpus[0].mig_devices] == [1, 2, 3]
    (warning,) = inventory.warnings
    assert warning.startswith("MIG device 0:0 (3g.40gb, MIG-00000010")
    assert f"nvidia-cap{instance_minor(0, 2)} is missing" in warning
    assert "nvidia-modprobe -f /proc/driver/nvidia/capabilities/gpu0/mig/gi2/access" in warning


def test_the_kernel_modules_table_helps_when_capability_files_are_masked(tmp_path: Path) -> None:
    host = make_described_host(tmp_path / "h", "mig")
    for file in (host.proc / "driver/nvidia/capabilities/gpu0").rglob("access"):
        file.write_text("")
    assert len(host.take(nvml=True).gpus[0].mig_devices) == 4


def test_without_any_capability_file_the_missing_file_is_named(tmp_path: Path) -> None:
    host = make_described_host(tmp_path / "h", "mig")
    (host.proc / "driver/nvidia-caps/mig-minors").unlink()
    (host.proc / "driver/nvidia/capabilities/gpu0/mig/gi9/ci0/access").unlink()
    inventory = host.take(nvml=True)
    assert [mig.position for mig in inventory.gpus[0].mig_devices] == [0, 1, 2]
    assert "gpu0/mig/gi9/ci0/access is missing" in inventory.warnings[0]


def test_a_mig_device_that_nvml_will_not_describe_is_dropped_alone(tmp_path: Path) -> None:
    description = describe("mig")
    description["gpus"][0]["mig_devices"][3]["errors"] = {"nvmlDeviceGetUUID": "GPU_IS_LOST"}
    inventory = make_described_host(tmp_path / "h", description).take(nvml=True)
    assert len(inventory.gpus[0].mig_devices) == 3
    assert inventory.warnings[0].startswith("MIG device 0:3 is left out: NVML says GPU is lost")


def test_without_nvml_the_instances_come_from_procfs(tmp_path: Path) -> None:
    first, whole, drawing, _ = make_described_host(tmp_path / "h", "mig").take(nvml=False).gpus
    assert [(m.position, m.gpu_instance, m.compute_instance) for m in first.mig_devices] == [
        (0, 2, 0), (1, 5, 0), (2, 5, 1), (3, 9, 0),
    ]  # fmt: skip
    assert {mig.uuid for mig in first.mig_devices} == {""}
    assert (first.mig_enabled, whole.mig_enabled) == (True, False)
    assert len(drawing.mig_devices[0].nodes) == 2


def test_mig_management_is_an_extra_with_its_file_and_node(tmp_path: Path) -> None:
    extras = {e.kind: e for e in make_described_host(tmp_path / "h", "mig").take().extras}
    assert set(extras) == {"mig-config", "mig-monitor"}
    assert [node.path for node in extras["mig-config"].nodes] == ["/dev/nvidia-caps/nvidia-cap1"]
    assert extras["mig-monitor"].access_files == ("/proc/driver/nvidia/capabilities/mig/monitor",)
