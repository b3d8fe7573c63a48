"""A container of the native engine gets the driver of a host made of directories."""

import os
from collections.abc import Iterator

import pytest

from support.driver_machine import Machine, V
from support.engine_host import USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineHost]:
    with engine_host() as host:
        yield host


@pytest.fixture
def machine(engine: EngineHost) -> Machine:
    return Machine(engine)


@pytest.mark.parametrize("user", USERS)
def test_libraries_nodes_and_programs_are_there_without_any_variable(
    machine: Machine, user: str
) -> None:
    words = ["libcuda.so.1", "libnvidia-ml.so.1", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia1",
             "/usr/bin/nvidia-smi", "$LD_LIBRARY_PATH", "$NVIDIA_VISIBLE_DEVICES",
             "/etc/OpenCL/vendors/nvidia.icd"]  # fmt: skip
    assert machine.run("--gpus", "all", "small", "/program", *words, user=user) == [
        "libcuda.so.1 580",
        "libnvidia-ml.so.1 581",
        "/dev/nvidiactl 195:255",
        "/dev/nvidia0 195:0",
        "/dev/nvidia1 195:1",
        "/usr/bin/nvidia-smi 4",
        "$LD_LIBRARY_PATH -",
        "$NVIDIA_VISIBLE_DEVICES all",
        "/etc/OpenCL/vendors/nvidia.icd 22",
    ]


def test_only_the_chosen_gpu_appears(machine: Machine) -> None:
    words = ["/dev/nvidia0", "/dev/nvidia1", "$NVIDIA_VISIBLE_DEVICES"]
    assert machine.run("--gpus", "device=1", "small", "/program", *words) == [
        "/dev/nvidia0 absent",
        "/dev/nvidia1 195:1",
        "$NVIDIA_VISIBLE_DEVICES 1",
    ]


def test_without_a_wish_nothing_of_the_driver_appears(machine: Machine) -> None:
    words = ["libcuda.so.1", "/dev/nvidiactl", "/usr/bin/nvidia-smi"]
    assert machine.run("small", "/program", *words) == [
        "libcuda.so.1 -1",
        "/dev/nvidiactl absent",
        "/usr/bin/nvidia-smi absent",
    ]


def test_a_stale_libcuda_and_left_overs_in_the_image_are_masked(machine: Machine) -> None:
    lib = f"/usr/lib/{os.uname().machine}-linux-gnu"
    machine.image.add_library(f"{lib}/libcuda.so.1", 1)
    (machine.image.path / lib.lstrip("/") / f"libnvidia-ml.so.{V}").symlink_to("/nowhere/at/all")
    (machine.image.path / lib.lstrip("/") / f"libcuda.so.{V}").write_bytes(b"")
    words = ["libcuda.so.1", "libnvidia-ml.so.1"]
    assert machine.run("--gpus", "all", "small", "/program", *words) == [
        "libcuda.so.1 580",
        "libnvidia-ml.so.1 581",
    ]


@pytest.mark.parametrize("user", USERS)
def test_a_file_of_procfs_can_be_replaced(machine: Machine, user: str) -> None:
    # Stands for /proc/driver/nvidia/params, which this machine may not have.
    other = machine.host.base / "params"
    other.write_text("ModifyDeviceFiles: 0\n")
    words = ["-v", f"{other}:/proc/version:ro", "small", "/program", "/proc/version"]
    assert machine.run(*words, user=user) == ["/proc/version 21"]
