"""A GPU is named by index, UUID or bus address; a wrong name is answered with what is there."""

import pytest

from sampan.gpus.selection import GpuSelectionError, MigSelectionError, select_gpus
from sampan.model.inventory import Gpu, Inventory
from sampan.model.request import Request


def make_gpu(number: int, *, mig: bool = False) -> Gpu:
    return Gpu(
        number, f"GPU-aaaa-{number}", number, f"00000000:0{number}:00.0", "NVIDIA H200",
        "9.0", "nvidia", 1 << 37, (), mig,
    )  # fmt: skip


def make_inventory(*gpus: Gpu) -> Inventory:
    return Inventory(
        "/", "/", "580.1", "580.1", "13.0", "discrete", (), (), (), (), (), (), gpus, ()
    )


def wish(*devices: str, gpu_count: int | None = None) -> Request:
    return Request(True, devices, gpu_count, ("compute",), "--gpus test")


HOST = make_inventory(make_gpu(0), make_gpu(1), make_gpu(2))


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (("all",), [0, 1, 2]),
        (("1",), [1]),
        (("2", "0"), [0, 2]),
        (("0", "GPU-AAAA-0", "00:00.0"), [0]),
        (("gpu-aaaa-2",), [2]),
        (("00000000:01:00.0",), [1]),
        (("0000:01:00.0",), [1]),
        ((), []),
    ],
)
def test_gpus_are_found_by_any_of_their_names(
    devices: tuple[str, ...], expected: list[int]
) -> None:
    assert [gpu.nvml_index for gpu in select_gpus(wish(*devices), HOST)] == expected


def test_a_count_takes_the_first_ones() -> None:
    assert [gpu.minor for gpu in select_gpus(wish(gpu_count=2), HOST)] == [0, 1]


def test_nothing_is_selected_for_no_driver() -> None:
    assert select_gpus(Request(False, (), None, (), ""), HOST) == ()


@pytest.mark.parametrize("device", ["3", "GPU-aaaa", "0000:09:00.0", "banana", "-1"])
def test_an_unknown_gpu_is_answered_with_those_there_are(device: str) -> None:
    with pytest.raises(GpuSelectionError, match="no GPU") as refusal:
        select_gpus(wish(device), HOST)
    assert "GPU-aaaa-2" in refusal.value.evidence


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(GpuSelectionError, match=r"4 GPUs are wanted .* 3 can be had"):
        select_gpus(wish(gpu_count=4), HOST)


def test_all_of_no_gpu_is_refused_with_the_inventorys_warnings() -> None:
    empty = make_inventory()._replace(warnings=("GPU 0 is left out: its node is missing",))
    with pytest.raises(GpuSelectionError) as refusal:
        select_gpus(wish("all"), empty)
    assert "its node is missing" in refusal.value.evidence


def test_a_gpu_in_mig_mode_is_not_addressable_as_a_whole() -> None:
    host = make_inventory(make_gpu(0, mig=True), make_gpu(1))
    assert [gpu.nvml_index for gpu in select_gpus(wish("all"), host)] == [1]
    with pytest.raises(MigSelectionError, match="MIG mode"):
        select_gpus(wish("0"), host)


@pytest.mark.parametrize("device", ["MIG-1234", "mig-1234", "0:1"])
def test_mig_devices_are_refused_by_that_name(device: str) -> None:
    with pytest.raises(MigSelectionError, match="MIG device"):
        select_gpus(wish(device), HOST)
