"""The least used GPUs come first; a host without whole GPUs offers its MIG devices."""

import pytest

from sampan.gpus.idle import rank_candidates
from sampan.gpus.selection import GpuSelectionError
from sampan.model.inventory import Gpu, GpuUsage, Inventory, MigDevice


def make_gpu(number: int, *positions: int, mig: bool = False) -> Gpu:
    devices = tuple(
        MigDevice(place, f"MIG-{number}-{place}", place, 0, "1g.10gb", 0, (), ())
        for place in positions
    )
    return Gpu(
        number, f"GPU-{number}", number, f"0:{number}:0.0", "H200", "9.0", "nvidia", 0, (),
        mig or bool(positions), devices,
    )  # fmt: skip


def host(*gpus: Gpu) -> Inventory:
    return Inventory("/", "/", "1", "1", "13.0", "discrete", (), (), (), (), (), (), gpus, ())


def usage(number: int, processes: int, percent: int, mebibytes: int, mig: int = -1) -> GpuUsage:
    return GpuUsage(number, mig, "", mebibytes << 20, 1 << 37, percent, processes)


def names(inventory: Inventory, *entries: GpuUsage, wanted: int = 1) -> list[str]:
    ranked = rank_candidates(inventory, entries, wanted=wanted, source="--gpus idle:1")
    return [candidate.name for candidate in ranked]


def test_processes_count_before_utilisation_and_utilisation_before_memory() -> None:
    order = names(
        host(make_gpu(0), make_gpu(1), make_gpu(2), make_gpu(3)),
        usage(0, 1, 0, 0),
        usage(1, 0, 5, 0),
        usage(2, 0, 0, 500),
        usage(3, 0, 0, 100),
    )
    assert order == ["GPU-3", "GPU-2", "GPU-1", "GPU-0"]


def test_equal_ones_keep_the_hosts_order_and_unknown_usage_counts_as_none() -> None:
    assert names(host(make_gpu(0), make_gpu(1)), usage(0, 0, -1, 0)) == ["GPU-0", "GPU-1"]


def test_mig_devices_are_offered_only_where_no_gpu_is_whole() -> None:
    assert names(host(make_gpu(0, 0, 1), make_gpu(1))) == ["GPU-1"]
    only_parts = host(make_gpu(0, 0, 1))
    assert names(only_parts, usage(0, 3, -1, 9, mig=0)) == ["MIG-0-1", "MIG-0-0"]


def test_a_candidate_says_how_it_is_used() -> None:
    (candidate,) = rank_candidates(host(make_gpu(0)), [usage(0, 2, 40, 1024)], wanted=1, source="")
    assert candidate.usage == "2 processes, 40 % busy, 1024 MiB in use"
    assert candidate.busy


def test_more_than_the_host_has_is_refused_before_any_lease() -> None:
    with pytest.raises(GpuSelectionError, match="3 idle GPUs are wanted"):
        names(host(make_gpu(0), make_gpu(1)), wanted=3)
