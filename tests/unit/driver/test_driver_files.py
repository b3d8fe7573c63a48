"""Each kind of the driver's files has its rule: where it is looked for, and what counts."""

import json
import os
import socket
from pathlib import Path

import pytest

from sampan.driver.cache import list_share_directories
from sampan.model.inventory import DriverFile, Inventory
from support.driver_host import FakeHost, make_elf, make_plain_host

V = "580.95.05"
OTHER = "550.163.01"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return make_plain_host(tmp_path, V)


def paths(host: FakeHost, files: tuple[DriverFile, ...]) -> dict[str, str]:
    return {f"{file.directory}/{file.name}": host.inner(file.host_path) for file in files}


def library_names(inventory: Inventory, bits: int = 64) -> set[str]:
    return {library.name for library in inventory.libraries if library.bits == bits}


# Libraries


@pytest.mark.parametrize("place", ["/usr/lib/i386-linux-gnu", "/usr/lib32", "/usr/lib"])
def test_32_bit_libraries_are_told_by_their_elf_class(host: FakeHost, place: str) -> None:
    host.add_file(f"{place}/libcuda.so.{V}", make_elf("libcuda.so.1", "i386", 32))
    host.add_file(f"{place}/libnvidia-ml.so.{V}", make_elf("libnvidia-ml.so.1", "i386", 32))
    inventory = host.take()
    assert library_names(inventory, 32) == {f"libcuda.so.{V}", f"libnvidia-ml.so.{V}"}
    assert library_names(inventory) == {f"libcuda.so.{V}"}


def test_libraries_of_a_second_installed_driver_are_not_taken(host: FakeHost) -> None:
    other = "/usr/lib/x86_64-linux-gnu/nvidia/current"
    host.add_library(f"{other}/libcuda.so.{OTHER}", "libcuda.so.1")
    host.add_library(f"{other}/libnvidia-glcore.so.{OTHER}", f"libnvidia-glcore.so.{OTHER}")
    host.add_library(f"{other}/libnvidia-api.so.1", "libnvidia-api.so.1")
    host.add_library(f"{other}/libnvidia-nvvm.so.4.0.0", "libnvidia-nvvm.so.4")
    assert library_names(host.take()) == {f"libcuda.so.{V}"}


def test_a_left_over_with_a_version_of_its_own_gives_way_to_the_drivers(host: FakeHost) -> None:
    host.add_library("/usr/lib64/libnvidia-nvvm.so.4.0.0", "libnvidia-nvvm.so.4")
    host.add_library(f"/usr/lib64/libnvidia-nvvm.so.{V}", "libnvidia-nvvm.so.4")
    assert library_names(host.take()) == {f"libcuda.so.{V}", f"libnvidia-nvvm.so.{V}"}


def test_of_two_egl_platforms_versions_the_linked_one_counts(host: FakeHost) -> None:
    host.add_library("/usr/lib64/libnvidia-egl-gbm.so.1.1.0", "libnvidia-egl-gbm.so.1")
    host.add_library("/usr/lib64/libnvidia-egl-gbm.so.1.1.2", "libnvidia-egl-gbm.so.1")
    host.add_link("/usr/lib64/libnvidia-egl-gbm.so.1", "libnvidia-egl-gbm.so.1.1.2")
    assert "libnvidia-egl-gbm.so.1.1.2" in library_names(host.take())
    assert "libnvidia-egl-gbm.so.1.1.0" not in library_names(host.take())


# X.Org


def add_modules(host: FakeHost, place: str, version: str) -> None:
    host.add_library(f"{place}/drivers/nvidia_drv.so", "nvidia_drv.so")
    glx = f"libglxserver_nvidia.so.{version}"
    host.add_library(f"{place}/extensions/{glx}", glx)
    host.add_link(f"{place}/extensions/libglxserver_nvidia.so", glx)


def test_xorgs_modules_are_found_with_display_and_their_place_below_the_module_path(
    host: FakeHost,
) -> None:
    add_modules(host, "/usr/lib64/xorg/modules", V)
    modules = host.take().modules
    assert paths(host, modules) == {
        "drivers/nvidia_drv.so": "/usr/lib64/xorg/modules/drivers/nvidia_drv.so",
        f"extensions/libglxserver_nvidia.so.{V}": (
            f"/usr/lib64/xorg/modules/extensions/libglxserver_nvidia.so.{V}"
        ),
    }
    assert {module.capabilities for module in modules} == {("display",)}


def test_modules_beside_another_drivers_glx_module_are_not_taken(host: FakeHost) -> None:
    add_modules(host, "/usr/lib64/xorg/modules", OTHER)
    assert host.take().modules == ()
    add_modules(host, "/usr/lib/xorg/modules", V)
    assert (
        "/usr/lib/xorg/modules/drivers/nvidia_drv.so" in paths(host, host.take().modules).values()
    )


def test_xorgs_configuration_snippets_are_for_display(host: FakeHost) -> None:
    host.add_file("/usr/share/X11/xorg.conf.d/10-nvidia.conf")
    host.add_file("/etc/X11/xorg.conf.d/nvidia-drm-outputclass.conf")
    found = host.take().configurations
    assert {file.capabilities for file in found} == {("display",)}
    assert set(paths(host, found)) == {
        "/usr/share/X11/xorg.conf.d/10-nvidia.conf",
        "/etc/X11/xorg.conf.d/nvidia-drm-outputclass.conf",
    }


# Descriptions


@pytest.mark.parametrize("place", ["/etc", "/usr/share", "/usr/local/share"])
@pytest.mark.parametrize(
    "name",
    [
        "egl/egl_external_platform.d/09_nvidia_wayland2.json",
        "egl/egl_external_platform.d/10_nvidia_wayland.json",
        "egl/egl_external_platform.d/15_nvidia_gbm.json",
        "egl/egl_external_platform.d/20_nvidia_xcb.json",
        "egl/egl_external_platform.d/20_nvidia_xlib.json",
        "glvnd/egl_vendor.d/10_nvidia.json",
        "vulkan/icd.d/nvidia_icd.json",
        "vulkan/icd.d/nvidia_icd.x86_64.json",
        "vulkan/icd.d/nvidia_icd.aarch64.json",
        "vulkan/implicit_layer.d/nvidia_layers.json",
        "vulkansc/icd.d/nvidia_icd.x86_64.json",
        "nvidia/nvoptix.bin",
        f"nvidia/nvidia-application-profiles-{V}-rc",
    ],
)
def test_graphics_descriptions_are_found_in_every_place_of_the_loaders(
    host: FakeHost, place: str, name: str
) -> None:
    host.add_file(f"{place}/{name}")
    (found,) = host.take().configurations
    assert host.inner(found.host_path) == f"{place}/{name}"
    assert found.capabilities == ("graphics",)
    assert found.text == ""


def test_the_opencl_description_is_for_compute(host: FakeHost) -> None:
    host.add_file("/etc/OpenCL/vendors/nvidia.icd", b"libnvidia-opencl.so.1\n")
    (found,) = host.take().configurations
    assert (found.name, found.capabilities) == ("nvidia.icd", ("compute",))


def test_an_application_profile_of_another_driver_stays_outside(host: FakeHost) -> None:
    host.add_file(f"/usr/share/nvidia/nvidia-application-profiles-{OTHER}-rc")
    assert host.take().configurations == ()


def test_descriptions_in_a_directory_that_the_user_names_come_last(host: FakeHost) -> None:
    host.add_file("/opt/share/vulkan/icd.d/nvidia_icd.json")
    found = host.take(config_search_paths=["/opt/share"]).configurations
    assert paths(host, found) == {
        "/usr/share/vulkan/icd.d/nvidia_icd.json": "/opt/share/vulkan/icd.d/nvidia_icd.json"
    }
    host.add_file("/usr/share/vulkan/icd.d/nvidia_icd.json")
    (first,) = host.take(config_search_paths=["/opt/share"]).configurations
    assert host.inner(first.host_path).startswith("/usr/share/")


def test_share_directories_come_from_xdg_data_dirs_when_absolute() -> None:
    environment = {"XDG_DATA_DIRS": "relative:/usr/share:/nix/share/:/opt/share::/nix/share"}
    assert list_share_directories(environment) == ("/nix/share", "/opt/share")
    assert list_share_directories({}) == ()


@pytest.mark.parametrize(
    "document",
    [
        {"ICD": {"library_path": "/nix/store/x/lib/libGLX_nvidia.so.0"}},
        {
            "layers": [
                {"library_path": "libx.so"},
                {"library_path": "/usr/lib64/libGLX_nvidia.so.0"},
            ]
        },
        {"layer": {"library_path": "/usr/lib64/libGLX_nvidia.so.0"}},
    ],
)
def test_a_description_with_an_absolute_library_path_comes_with_its_text(
    host: FakeHost, document: dict[str, object]
) -> None:
    host.add_file("/usr/share/vulkan/icd.d/nvidia_icd.json", json.dumps(document).encode())
    (found,) = host.take().configurations
    assert json.loads(found.text) == document


def test_an_opencl_description_with_an_absolute_path_is_left_to_the_plan_to_write(
    host: FakeHost,
) -> None:
    host.add_file("/etc/OpenCL/vendors/nvidia.icd", b"/nix/store/x/lib/libnvidia-opencl.so.1\n")
    assert host.take().configurations == ()


# Programs


def test_nixos_unpatched_copy_of_a_program_is_taken(host: FakeHost) -> None:
    store = f"/nix/store/abc-nvidia-x11-{V}-bin"
    host.add_program(f"{store}/bin/nvidia-smi")
    host.add_program(f"{store}/origBin/nvidia-smi")
    host.add_link("/run/current-system/sw/bin/nvidia-smi", f"{store}/bin/nvidia-smi")
    (smi,) = host.take().binaries
    assert host.inner(smi.host_path) == f"{store}/origBin/nvidia-smi"


def test_xconfig_is_a_program_of_the_display_capability(host: FakeHost) -> None:
    host.add_program("/usr/bin/nvidia-xconfig")
    host.add_program("/usr/bin/nvidia-settings")
    (found,) = host.take().binaries
    assert (found.name, found.capabilities) == ("nvidia-xconfig", ("display",))


# Firmware


@pytest.mark.parametrize(
    "place", ["/lib/firmware", "/lib/firmware/updates", f"/lib/firmware/{os.uname().release}"]
)
def test_gsp_firmware_of_this_driver_is_found_where_the_kernel_looks(
    host: FakeHost, place: str
) -> None:
    host.add_file(f"{place}/nvidia/{V}/gsp_ga10x.bin")
    host.add_file(f"{place}/nvidia/{OTHER}/gsp_ga10x.bin")
    host.add_file(f"{place}/nvidia/{V}/readme")
    (found,) = host.take().firmware
    assert host.inner(found.host_path) == f"{place}/nvidia/{V}/gsp_ga10x.bin"
    assert found.directory == f"/lib/firmware/nvidia/{V}"


def test_the_kernels_firmware_path_parameter_comes_first(host: FakeHost) -> None:
    host.add_file(f"/lib/firmware/nvidia/{V}/gsp.bin")
    host.add_file(f"/srv/firmware/nvidia/{V}/gsp.bin")
    parameter = host.sys / "module/firmware_class/parameters/path"
    parameter.parent.mkdir(parents=True)
    parameter.write_text("/srv/firmware\n")
    (found,) = host.take().firmware
    assert host.inner(found.host_path) == f"/srv/firmware/nvidia/{V}/gsp.bin"


# Sockets


def listen(host: FakeHost, path: str) -> None:
    target = host.root / path.lstrip("/")
    target.parent.mkdir(parents=True)
    here = Path.cwd()
    os.chdir(target.parent)
    try:
        with socket.socket(socket.AF_UNIX) as endpoint:
            endpoint.bind(target.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("daemon", ["nvidia-persistenced", "nvidia-fabricmanager"])
@pytest.mark.parametrize("run", ["/run", "/var/run"])
def test_a_daemons_socket_is_found_below_run(host: FakeHost, run: str, daemon: str) -> None:
    listen(host, f"{run}/{daemon}/socket")
    (found,) = host.take().sockets
    assert (found.directory, found.capabilities) == (f"/run/{daemon}", ("utility",))


def test_the_mps_directory_is_where_its_variable_says_and_goes_to_the_usual_place(
    host: FakeHost,
) -> None:
    (host.root / "srv/mps").mkdir(parents=True)
    (found,) = host.take(mps_directory="/srv/mps").sockets
    assert host.inner(found.host_path) == "/srv/mps"
    assert (found.directory, found.name, found.capabilities) == ("/tmp", "nvidia-mps", ("compute",))
    assert host.take().sockets == ()
