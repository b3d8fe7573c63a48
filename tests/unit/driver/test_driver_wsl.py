"""WSL: the driver store in use, its loaders, and everything at the place where it lies on the host."""

from pathlib import Path

import pytest

from sampan.driver.roots import Root
from sampan.driver.wsl import LIBRARY_DIRECTORY, STORE_DIRECTORY, WslFiles, find_wsl_files
from support.driver_host import FakeHost, make_elf

STORE = f"{STORE_DIRECTORY}/nv_dispi.inf_amd64_0123456789abcdef"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    add_store(host, STORE)
    for name in ("libcuda.so", "libcuda.so.1", "libcuda.so.1.1"):
        host.add_library(f"{LIBRARY_DIRECTORY}/{name}", "libcuda.so.1")
    host.add_library(f"{LIBRARY_DIRECTORY}/libdxcore.so", "libdxcore.so")
    return host


def add_store(host: FakeHost, store: str, padding: bytes = b"") -> None:
    host.add_library(f"{store}/libcuda.so.1.1", "libcuda.so.1")
    host.add_file(f"{store}/libcuda_loader.so", make_elf("libcuda.so.1") + padding)
    host.add_library(f"{store}/libnvidia-ml.so.1", "libnvidia-ml.so.1")
    host.add_file(f"{store}/nvcubins.bin")
    host.add_file(f"{store}/nvcuda64.dll")
    host.add_program(f"{store}/nvidia-smi")


def find(host: FakeHost) -> WslFiles:
    return find_wsl_files(Root(str(host.root)), "x86_64", str(host.proc))


def test_the_loaders_are_libraries_that_stay_in_wsls_own_directory(host: FakeHost) -> None:
    libraries = {library.name: library for library in find(host).libraries}
    assert set(libraries) == {"libcuda.so.1", "libdxcore.so"}
    assert libraries["libcuda.so.1"].links == ("libcuda.so", "libcuda.so.1.1")
    assert {library.directory for library in libraries.values()} == {LIBRARY_DIRECTORY}
    assert "utility" in libraries["libdxcore.so"].capabilities


def test_the_stores_parts_go_in_under_their_own_paths_and_windows_files_do_not(
    host: FakeHost,
) -> None:
    found = find(host)
    assert {file.name: file.capabilities for file in found.configurations} == {
        "libcuda.so.1.1": ("compute",),
        "libcuda_loader.so": ("compute",),
        "libnvidia-ml.so.1": ("utility",),
        "nvcubins.bin": ("compute",),
    }
    assert {file.directory for file in found.configurations} == {STORE}


def test_nvidia_smi_of_the_store_gets_its_usual_name_by_a_link(host: FakeHost) -> None:
    found = find(host)
    (smi,) = found.binaries
    assert (smi.directory, smi.capabilities) == (STORE, ("utility",))
    assert found.links == (("/usr/bin/nvidia-smi", f"{STORE}/nvidia-smi"),)


def test_of_two_stores_the_one_that_the_loaders_were_copied_from_is_used(host: FakeHost) -> None:
    add_store(host, f"{STORE_DIRECTORY}/nvlt.inf_amd64_fedcba9876543210", padding=b"newer")
    found = find(host)
    assert {file.directory for file in found.configurations} == {STORE}
    (warning,) = found.warnings
    assert "more than one driver" in warning
    assert "nvlt.inf_amd64_fedcba9876543210" in warning


def test_another_vendors_store_is_passed_over(host: FakeHost) -> None:
    add_store(host, f"{STORE_DIRECTORY}/iigd_dch.inf_amd64_0000000000000000")
    assert find(host).warnings == ()


def test_a_store_that_is_mounted_elsewhere_is_found_through_the_mounts(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    add_store(host, "/mnt/my store/nv_dispi.inf_amd64_0123456789abcdef")
    (host.proc / "mounts").write_text("drivers /mnt/my\\040store 9p ro 0 0\nnone /../x 9p rw 0 0\n")
    found = find(host)
    assert {file.directory for file in found.configurations} == {
        "/mnt/my store/nv_dispi.inf_amd64_0123456789abcdef"
    }


def test_without_loaders_of_wsl_the_stores_own_are_used(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    add_store(host, STORE)
    (cuda,) = find(host).libraries
    assert (cuda.name, cuda.soname, cuda.directory) == ("libcuda_loader.so", "libcuda.so.1", STORE)


def test_a_host_without_the_store_says_so(tmp_path: Path) -> None:
    (warning,) = find(FakeHost(tmp_path)).warnings
    assert STORE_DIRECTORY in warning
