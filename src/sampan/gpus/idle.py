"""Which GPUs ``--gpus idle:N`` tries, the least used first. Leases are ``engines.leases``'."""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.gpus.selection import GpuSelectionError, describe_gpus
from sampan.model.inventory import Gpu, GpuUsage, Inventory


class Candidate(NamedTuple):
    """A GPU, or a MIG device where the host has no whole GPU.

    Attributes:
        name: what it is leased under and named by in ``Request.devices``: its UUID, else its bus
            address.
        label: for messages, e.g. ``0``, ``0:1``.
        usage: one clause, e.g. ``2 processes, 40 % busy, 1024 MiB in use``; empty when unknown.
        busy: whether somebody computes on it.
    """

    name: str
    label: str
    usage: str
    busy: bool


def rank_candidates(
    inventory: Inventory, usage: Sequence[GpuUsage], *, wanted: int, source: str
) -> tuple[Candidate, ...]:
    """Everything that may be taken, the least used first.

    Fewest processes come first, then the least busy, then the least memory in use, then the host's
    order. What NVML does not say counts as nothing.

    Raises:
        GpuSelectionError: the host has fewer GPUs than are wanted.
    """
    known = {(entry.nvml_index, entry.mig_position): entry for entry in usage}
    places = [
        (gpu, -1, gpu.uuid or gpu.pci_bus_id) for gpu in inventory.gpus if not gpu.mig_enabled
    ]
    if not places:
        places = [
            (gpu, device.position, device.uuid or f"{gpu.nvml_index}:{device.position}")
            for gpu in inventory.gpus
            for device in gpu.mig_devices
        ]
    if len(places) < wanted:
        raise GpuSelectionError(
            f"{wanted} idle GPUs are wanted ({source}), the host has {len(places)}",
            evidence=describe_gpus(inventory),
            remedy="sampan gpus lists what this host has",
        )
    ranked = sorted(places, key=lambda place: _burden(known.get((place[0].nvml_index, place[1]))))
    return tuple(
        _describe(gpu, position, name, known.get((gpu.nvml_index, position)))
        for gpu, position, name in ranked
    )


def _burden(usage: GpuUsage | None) -> tuple[int, int, int]:
    if usage is None:
        return 0, 0, 0
    return usage.process_count, max(usage.utilization_percent, 0), usage.memory_used_bytes


def _describe(gpu: Gpu, position: int, name: str, usage: GpuUsage | None) -> Candidate:
    label = str(gpu.nvml_index) if position < 0 else f"{gpu.nvml_index}:{position}"
    if usage is None:
        return Candidate(name, label, "", busy=False)
    noun = "process" if usage.process_count == 1 else "processes"
    words = [f"{usage.process_count} {noun}"]
    if usage.utilization_percent >= 0:
        words.append(f"{usage.utilization_percent} % busy")
    if usage.memory_bytes:
        words.append(f"{usage.memory_used_bytes >> 20} MiB in use")
    return Candidate(name, label, ", ".join(words), busy=usage.process_count > 0)
