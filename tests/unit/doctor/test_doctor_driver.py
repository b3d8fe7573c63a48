"""``sampan doctor`` on hosts with a driver: each trouble as a directory, and the same in health."""

from pathlib import Path

import pytest

from support.doctor import (
    DoctorHost,
    V,
    diagnose,
    is_healthy,
    make_driver_host,
    the_trouble,
)


@pytest.fixture
def host(tmp_path: Path) -> DoctorHost:
    return make_driver_host(tmp_path)


@pytest.mark.parametrize(
    "check",
    [
        "driver", "driver-versions", "device-nodes", "char-links", "driver-files", "mig",
        "node-groups", "selinux", "wsl",
    ],
)  # fmt: skip
def test_a_working_driver_gives_no_complaint(host: DoctorHost, check: str) -> None:
    assert is_healthy(diagnose(check, host))


def test_a_machine_without_a_gpu_is_no_trouble(tmp_path: Path) -> None:
    found = the_trouble(diagnose("driver", DoctorHost(tmp_path)))
    assert (found.id, found.severity) == ("driver-none", "info")


def test_a_login_node_with_the_libraries_and_no_gpu_is_no_trouble(tmp_path: Path) -> None:
    host = DoctorHost(tmp_path)
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    assert the_trouble(diagnose("driver", host)).severity == "info"


def test_a_gpu_without_a_loaded_module_is_broken(tmp_path: Path) -> None:
    host = DoctorHost(tmp_path)
    host.add_pci("0000:01:00.0")
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    found = the_trouble(diagnose("driver", host))
    assert (found.id, found.severity) == ("driver-incomplete", "broken")
    assert "Driver Not Loaded" in found.symptom
    assert "modprobe nvidia" in found.remedy


def test_a_module_older_than_the_libraries_is_the_mismatch_that_users_see(host: DoctorHost) -> None:
    host.load_module("570.86.15")
    found = the_trouble(diagnose("driver-versions", host))
    assert found.severity == "broken"
    assert "Driver/library version mismatch" in found.symptom
    assert "570.86.15" in found.evidence
    assert V in found.evidence


def test_a_driver_without_nvml_says_where_it_was_looked_for(host: DoctorHost) -> None:
    found = the_trouble(diagnose("nvml", host))
    assert found.id == "nvml-absent"
    assert "load library failed: libnvidia-ml.so.1" in found.symptom
    assert "/usr/lib64" in found.evidence


def test_a_missing_uvm_node_is_why_cuda_does_not_start(host: DoctorHost) -> None:
    host.remove_node("/dev/nvidia-uvm")
    found = the_trouble(diagnose("device-nodes", host))
    assert found.id == "node-uvm-missing"
    assert "999" in found.symptom
    assert found.remedy == "sudo nvidia-modprobe -u -c=0"
    host.add_proc_file("modules", "nvidia 1 1 - Live 0x0\n")
    assert "modprobe nvidia-uvm" in the_trouble(diagnose("device-nodes", host)).remedy


def test_a_gpu_whose_node_is_missing_is_named(host: DoctorHost) -> None:
    host.add_gpu(1, node=False)
    found = the_trouble(diagnose("device-nodes", host))
    assert (found.id, found.severity) == ("driver-part-left-out", "warning")
    assert "/dev/nvidia1" in found.cause


def test_nodes_that_this_user_may_not_open_are_listed(host: DoctorHost) -> None:
    host.forbidden = {"/dev/nvidiactl"}
    found = the_trouble(diagnose("device-nodes", host))
    assert found.id == "node-closed"
    assert "/dev/nvidiactl" in found.evidence
    assert "Insufficient Permissions" in found.symptom


def test_links_in_dev_char_matter_where_systemd_has_the_cgroups(host: DoctorHost) -> None:
    host.install_docker()
    found = the_trouble(diagnose("char-links", host))
    assert found.id == "char-links-missing"
    assert "/dev/char/195:255 -> " in found.evidence
    for numbers, name in (
        ("195:255", "nvidiactl"), ("195:0", "nvidia0"), ("238:0", "nvidia-uvm"),
        ("238:1", "nvidia-uvm-tools"),
    ):  # fmt: skip
        host.add_link(f"/dev/char/{numbers}", f"../{name}")
    assert is_healthy(diagnose("char-links", host))


def test_links_in_dev_char_do_not_matter_to_cgroupfs(host: DoctorHost) -> None:
    host.install_docker(CgroupDriver="cgroupfs")
    assert is_healthy(diagnose("char-links", host))


def _load_drm(host: DoctorHost, modeset: str) -> None:
    host.add_sys_file("module/nvidia_drm/parameters/modeset", f"{modeset}\n")
    (host.sys / "bus/pci/devices/0000:00:00.0/drm/renderD128").mkdir(parents=True)
    host.add_node("/dev/dri/renderD128", 226, 128)


def test_graphics_is_well_with_libraries_descriptions_and_render_node(host: DoctorHost) -> None:
    _load_drm(host, "Y")
    assert is_healthy(diagnose("graphics", host))


def test_drm_without_mode_setting_is_named(host: DoctorHost) -> None:
    _load_drm(host, "N")
    found = the_trouble(diagnose("graphics", host))
    assert found.id == "graphics-modeset-off"
    assert "modeset=1" in found.remedy


def test_a_missing_drm_module_or_render_node_is_named(host: DoctorHost) -> None:
    assert the_trouble(diagnose("graphics", host)).id == "graphics-drm-not-loaded"
    host.add_sys_file("module/nvidia_drm/parameters/modeset", "Y\n")
    assert the_trouble(diagnose("graphics", host)).id == "graphics-no-render-node"


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("usr/share/vulkan/icd.d/nvidia_icd.json", "graphics-vulkan-icd-absent"),
        ("usr/share/glvnd/egl_vendor.d/10_nvidia.json", "graphics-egl-icd-absent"),
    ],
)
def test_a_missing_icd_description_is_named(host: DoctorHost, path: str, identity: str) -> None:
    _load_drm(host, "Y")
    (host.root / path).unlink()
    assert the_trouble(diagnose("graphics", host)).id == identity


def test_a_driver_for_computing_only_is_told_not_blamed(host: DoctorHost) -> None:
    for name in ("libGLX_nvidia", "libEGL_nvidia"):
        (host.root / f"usr/lib64/{name}.so.{V}").unlink()
    assert the_trouble(diagnose("graphics", host)).severity == "info"


def test_libraries_of_a_second_driver_are_named(host: DoctorHost) -> None:
    host.add_library("/usr/lib64/libcuda.so.535.261.03", "libcuda.so.1")
    found = [one for one in diagnose("driver-files", host) if one.severity == "warning"]
    assert [one.id for one in found] == ["driver-files-two-versions"]
    assert "libcuda.so.535.261.03" in found[0].evidence


def test_a_link_of_a_driver_that_was_removed_is_named(host: DoctorHost) -> None:
    host.add_link("/usr/lib64/libnvidia-ml.so.1", "libnvidia-ml.so.470.1.1")
    found = [one for one in diagnose("driver-files", host) if one.severity == "warning"]
    assert [one.id for one in found] == ["driver-files-dangling"]


def test_a_file_that_nobody_explains_is_worth_knowing(host: DoctorHost) -> None:
    host.write("/usr/share/nvidia/novelty.dat", "x")
    found = the_trouble(diagnose("driver-files", host))
    assert (found.id, found.severity) == ("driver-files-unknown", "info")


def test_nodes_of_a_group_that_the_user_is_not_in(host: DoctorHost) -> None:
    host.add_node("/dev/nvidia-modeset", 195, 254, mode=0o660, gid=44)
    host.write("/etc/group", "root:x:0:\nvideo:x:44:\n")
    host.uid = 1000
    found = the_trouble(diagnose("node-groups", host))
    assert found.id == "node-group-missing"
    assert "usermod -aG video" in found.remedy
    host.groups = (1000, 44)
    assert is_healthy(diagnose("node-groups", host))


def test_rootless_podman_loses_the_group_that_the_user_is_in(host: DoctorHost) -> None:
    host.add_node("/dev/nvidia-modeset", 195, 254, mode=0o660, gid=44)
    host.uid, host.groups = 1000, (1000, 44)
    host.install_podman(rootless=True)
    found = the_trouble(diagnose("node-groups", host))
    assert found.id == "node-group-lost"
    assert "--group-add keep-groups" in found.remedy


def test_selinux_keeps_containers_from_devices_until_its_boolean_is_on(host: DoctorHost) -> None:
    host.add_sys_file("fs/selinux/enforce", "1")
    host.add_sys_file("fs/selinux/booleans/container_use_devices", "0 0")
    found = the_trouble(diagnose("selinux", host))
    assert found.id == "selinux-devices"
    assert "setsebool -P container_use_devices=on" in found.remedy
    host.add_sys_file("fs/selinux/booleans/container_use_devices", "1 1")
    assert is_healthy(diagnose("selinux", host))


def test_wsl_without_its_node_or_its_store_has_no_gpu(tmp_path: Path) -> None:
    host = DoctorHost(tmp_path)
    host.add_proc_file("sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    assert the_trouble(diagnose("wsl", host)).id == "wsl-no-node"
    host.add_node("/dev/dxg", 10, 126)
    assert the_trouble(diagnose("wsl", host)).id == "wsl-no-store"
    host.add_library("/usr/lib/wsl/lib/libcuda.so.1.1", "libcuda.so.1")
    assert is_healthy(diagnose("wsl", host))


def test_a_linux_driver_inside_wsl_hides_windows_libraries(tmp_path: Path) -> None:
    host = DoctorHost(tmp_path)
    host.add_proc_file("sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n")
    host.add_node("/dev/dxg", 10, 126)
    host.add_library("/usr/lib/wsl/lib/libcuda.so.1.1", "libcuda.so.1")
    host.add_library("/usr/lib/x86_64-linux-gnu/libcuda.so.1", "libcuda.so.1")
    found = the_trouble(diagnose("wsl", host))
    assert found.id == "wsl-linux-driver"
    assert "/usr/lib/x86_64-linux-gnu/libcuda.so.1" in found.evidence
