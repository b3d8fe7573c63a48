"""The driver's libraries are found where distributions put them, and only one driver's."""

import os
from pathlib import Path

import pytest

from sampan.injection.ldcache import render_loader_cache
from sampan.model.ldcache import LoaderCache, LoaderEntry
from support.driver_host import FakeHost, make_elf, make_h200_host

V = "535.261.03"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_control_nodes()
    return host


def names(host: FakeHost, **options: object) -> dict[str, str]:
    return {
        library.name: host.inner(library.host_path) for library in host.take(**options).libraries
    }


def add_debian_driver(host: FakeHost) -> None:
    lib = "/usr/lib/x86_64-linux-gnu"
    current = f"{lib}/nvidia/current"
    for stem, number in (("libcuda", 1), ("libnvidia-ml", 1), ("libEGL_nvidia", 0)):
        host.add_library(f"{current}/{stem}.so.{V}", f"{stem}.so.{number}")
        host.add_link(f"{current}/{stem}.so.{number}", f"{stem}.so.{V}")
        host.add_link(f"{lib}/{stem}.so.{number}", f"/etc/alternatives/glx--{stem}.so.{number}")
        host.add_link(f"/etc/alternatives/glx--{stem}.so.{number}", f"{current}/{stem}.so.{V}")
    host.add_link(f"{lib}/libcuda.so", "libcuda.so.1")
    host.add_library(f"{lib}/libnvidia-glcore.so.{V}", f"libnvidia-glcore.so.{V}")
    host.add_file(f"{current}/nvoptix.bin")
    host.add_program("/usr/lib/nvidia/current/nvidia-smi")
    host.add_link("/usr/bin/nvidia-smi", "/etc/alternatives/nvidia--nvidia-smi")
    host.add_link("/etc/alternatives/nvidia--nvidia-smi", "/usr/lib/nvidia/current/nvidia-smi")


def test_the_h200_machine_is_found_whole(tmp_path: Path) -> None:
    inventory = make_h200_host(tmp_path).take()
    assert inventory.driver_version == inventory.module_version == "580.159.04"
    assert inventory.cuda_version == "13.0"
    assert len(inventory.libraries) == 26
    assert {binary.name for binary in inventory.binaries} >= {"nvidia-smi", "nvidia-debugdump"}
    assert [file.name for file in inventory.firmware] == ["gsp_ga10x.bin", "gsp_tu10x.bin"]
    assert inventory.warnings == ()
    cuda = next(lib for lib in inventory.libraries if lib.soname == "libcuda.so.1")
    assert (cuda.name, cuda.links) == ("libcuda.so.580.159.04", ("libcuda.so",))


def test_debians_current_directory_and_its_absolute_alternatives_are_followed(
    host: FakeHost,
) -> None:
    add_debian_driver(host)
    found = names(host)
    assert found[f"libcuda.so.{V}"] == f"/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.{V}"
    assert found[f"libnvidia-glcore.so.{V}"] == f"/usr/lib/x86_64-linux-gnu/libnvidia-glcore.so.{V}"
    inventory = host.take()
    cuda = next(lib for lib in inventory.libraries if lib.soname == "libcuda.so.1")
    assert cuda.links == ("libcuda.so",)
    (smi,) = inventory.binaries
    assert host.inner(smi.host_path) == "/usr/lib/nvidia/current/nvidia-smi"
    assert any(file.name == "nvoptix.bin" for file in inventory.configurations)


def test_a_wrapper_script_is_not_taken_for_the_drivers_program(tmp_path: Path) -> None:
    host = make_h200_host(tmp_path)
    host.add_file(
        "/usr/bin/nvidia-smi", b"#!/bin/sh\nexec /usr/local/nvidia/bin/nvidia-smi\n", 0o755
    )
    smi = next(binary for binary in host.take().binaries if binary.name == "nvidia-smi")
    assert host.inner(smi.host_path) == "/usr/local/nvidia/bin/nvidia-smi"


@pytest.mark.parametrize(
    ("directory", "machine"),
    [
        ("/usr/lib64", "x86_64"),
        ("/usr/lib", "x86_64"),
        ("/usr/lib/aarch64-linux-gnu", "aarch64"),
        ("/run/opengl-driver/lib", "x86_64"),
    ],
)
def test_other_distributions_directories_are_searched(
    host: FakeHost, directory: str, machine: str
) -> None:
    host.add_library(f"{directory}/libcuda.so.{V}", "libcuda.so.1", machine)
    assert names(host, machine=machine) == {f"libcuda.so.{V}": f"{directory}/libcuda.so.{V}"}


def test_a_directory_that_only_the_loader_cache_names_is_searched(host: FakeHost) -> None:
    host.add_library(f"/opt/strange/libcuda.so.{V}", "libcuda.so.1")
    assert names(host) == {}
    entry = LoaderEntry(b"libcuda.so.1", b"/opt/strange/libcuda.so.1", 0x0303)
    host.add_file("/etc/ld.so.cache", render_loader_cache(LoaderCache((entry,))))
    assert names(host) == {f"libcuda.so.{V}": f"/opt/strange/libcuda.so.{V}"}


def test_a_damaged_loader_cache_or_a_fifo_in_its_place_is_passed_over(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_file("/etc/ld.so.cache", b"glibc-ld.so.cache1.1" + b"\xff" * 40)
    assert f"libcuda.so.{V}" in names(host)
    (host.root / "etc/ld.so.cache").unlink()
    os.mkfifo(host.root / "etc/ld.so.cache")
    assert f"libcuda.so.{V}" in names(host)


def test_a_directory_that_the_user_names_comes_first(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_library(f"/opt/mine/libcuda.so.{V}", "libcuda.so.1")
    found = names(host, library_search_paths=["/opt/mine"])
    assert found == {f"libcuda.so.{V}": f"/opt/mine/libcuda.so.{V}"}


def test_the_environments_library_path_is_not_trusted(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add_library(f"/usr/local/cuda/compat/libcuda.so.{V}", "libcuda.so.1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/compat")
    assert names(host) == {}


def test_of_two_installed_drivers_the_loaded_modules_counts(host: FakeHost) -> None:
    for version in ("525.60.11", V):
        host.add_library(f"/usr/lib64/libcuda.so.{version}", "libcuda.so.1")
        host.add_library(f"/usr/lib64/libnvidia-ml.so.{version}", "libnvidia-ml.so.1")
    assert set(names(host)) == {f"libcuda.so.{V}", f"libnvidia-ml.so.{V}"}


def test_libraries_of_another_version_than_the_module_are_reported(host: FakeHost) -> None:
    host.add_library("/usr/lib64/libcuda.so.525.60.11", "libcuda.so.1")
    inventory = host.take()
    assert inventory.driver_version == "525.60.11"
    (warning,) = inventory.warnings
    assert "535.261.03" in warning
    assert "525.60.11" in warning
    assert "reboot" in warning


def test_a_new_library_of_the_drivers_version_is_taken_for_compute_and_graphics(
    host: FakeHost,
) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_library(f"/usr/lib64/libnvidia-brandnew.so.{V}", "libnvidia-brandnew.so.1")
    new = next(lib for lib in host.take().libraries if "brandnew" in lib.name)
    assert new.capabilities == ("compute", "graphics")


def test_vendor_neutral_libraries_and_the_container_toolkit_stay_outside(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_library(f"/usr/lib64/libGL.so.{V}", "libGL.so.1")
    host.add_library(f"/usr/lib64/libOpenCL.so.{V}", "libOpenCL.so.1")
    host.add_library("/usr/lib64/libnvidia-container.so.1.17.8", "libnvidia-container.so.1")
    assert set(names(host)) == {f"libcuda.so.{V}"}


def test_libraries_with_a_version_of_their_own_belong_to_the_driver(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_library("/usr/lib64/libnvidia-egl-gbm.so.1.1.2", "libnvidia-egl-gbm.so.1")
    host.add_link("/usr/lib64/libnvidia-egl-gbm.so.1", "libnvidia-egl-gbm.so.1.1.2")
    assert set(names(host)) == {f"libcuda.so.{V}", "libnvidia-egl-gbm.so.1.1.2"}


def test_an_empty_left_over_of_a_container_engine_is_reported_and_left_out(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_file(f"/usr/lib64/libnvidia-ml.so.{V}", b"")
    inventory = host.take()
    assert [lib.name for lib in inventory.libraries] == [f"libcuda.so.{V}"]
    assert "no ELF shared library" in inventory.warnings[0]


def test_both_widths_are_listed(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    host.add_file(f"/usr/lib/libcuda.so.{V}", make_elf("libcuda.so.1", "i386", 32))
    assert [(lib.bits, lib.machine) for lib in host.take().libraries] == [
        (32, "i386"),
        (64, "x86_64"),
    ]


def test_libraries_of_another_machine_are_not_taken(host: FakeHost) -> None:
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1", "aarch64")
    assert names(host) == {}


def test_cudas_stub_is_not_the_driver(host: FakeHost) -> None:
    host.add_library("/usr/lib64/libcuda.so", "libcuda.so.1")
    host.add_library("/usr/lib64/libcuda.so.1.1", "libcuda.so.1")
    assert names(host) == {}
