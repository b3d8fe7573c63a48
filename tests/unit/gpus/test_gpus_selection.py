"""A GPU is named by index, UUID or bus address; a wrong name is answered with what is there."""

import pytest

from sampan.gpus.selection import GpuSelectionError, MigSelectionError, select_gpus
from sampan.model.inventory import Gpu, Inventory, MigDevice
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


def make_mig(number: int, *positions: int) -> Gpu:
    """A GPU in MIG mode; ids of the instances differ from the positions."""
    devices = tuple(
        MigDevice(
            place, f"MIG-{number}-{place}", place + 7, 0, "1g.10gb", 1 << 33, (), ()
        )
        for place in positions
    )  # fmt: skip
    return make_gpu(number, mig=True)._replace(mig_devices=devices)


MIG_HOST = make_inventory(make_mig(0, 0, 1, 2), make_gpu(1), make_mig(2))


def chosen(*words: str, gpu_count: int | None = None) -> list[str]:
    return [
        name
        for gpu in select_gpus(wish(*words, gpu_count=gpu_count), MIG_HOST)
        for name in ([device.uuid for device in gpu.mig_devices] or [gpu.uuid])
    ]


def test_all_is_every_whole_gpu_and_every_mig_device() -> None:
    assert chosen("all") == ["MIG-0-0", "MIG-0-1", "MIG-0-2", "GPU-aaaa-1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("0:1",), ["MIG-0-1"]),
        (("MIG-0-2",), ["MIG-0-2"]),
        (("mig-0-2", "0:0"), ["MIG-0-0", "MIG-0-2"]),
        (("MIG-GPU-aaaa-0/8/0",), ["MIG-0-1"]),
        (("1", "0:2"), ["MIG-0-2", "GPU-aaaa-1"]),
    ],
)
def test_mig_devices_are_found_by_any_of_their_names(
    words: tuple[str, ...], expected: list[str]
) -> None:
    assert chosen(*words) == expected


def test_a_count_takes_whole_gpus_only() -> None:
    assert chosen(gpu_count=1) == ["GPU-aaaa-1"]
    with pytest.raises(MigSelectionError, match="MIG mode does not count") as refusal:
        chosen(gpu_count=2)
    assert "--gpus device=0:0" in refusal.value.remedy


@pytest.mark.parametrize("word", ["0", "GPU-aaaa-0", "00:00.0"])
def test_a_gpu_in_mig_mode_is_not_addressable_as_a_whole(word: str) -> None:
    with pytest.raises(MigSelectionError, match="MIG mode") as refusal:
        chosen(word)
    assert "device=0:0,0:1,0:2" in refusal.value.remedy
    assert "0:1 = MIG 1g.10gb MIG-0-1" in refusal.value.evidence


@pytest.mark.parametrize("word", ["MIG-1234", "mig-1234", "0:3", "1:0", "MIG-GPU-aaaa-0/9/9"])
def test_an_unknown_mig_device_is_answered_with_those_there_are(word: str) -> None:
    with pytest.raises(MigSelectionError, match="no MIG device") as refusal:
        chosen(word)
    assert "MIG-0-0" in refusal.value.evidence


def test_a_host_with_very_many_mig_devices_is_named_in_part() -> None:
    host = make_inventory(*(make_mig(number, *range(7)) for number in range(8)))
    with pytest.raises(MigSelectionError) as refusal:
        select_gpus(wish("MIG-none"), host)
    assert refusal.value.evidence.endswith("and 48 more")
    assert "sampan gpus" in refusal.value.remedy
    with pytest.raises(MigSelectionError) as refusal:
        select_gpus(wish("7"), host)
    assert "7:6" in refusal.value.evidence
    assert "MIG-0-0" not in refusal.value.evidence


def test_all_of_a_host_without_mig_devices_is_refused() -> None:
    with pytest.raises(GpuSelectionError, match="no GPU can be had") as refusal:
        select_gpus(wish("all"), make_inventory(make_mig(0)))
    assert "without MIG devices" in refusal.value.evidence
