"""MIG devices of a GPU: what NVML says of them, their capability files and their access nodes.

A container needs, beside the GPU's own node, the access nodes of the GPU instance and of the compute
instance (field note, section 4.2). Without NVML the instances are read from procfs alone: they have
no UUID and no profile then, and are numbered by instance ids, as NVML does on the hosts seen.
"""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sampan.driver.caps import CAPABILITIES, Capability, find_capability
from sampan.driver.nodes import DeviceView
from sampan.model.inventory import MigDevice


class NvmlMig(NamedTuple):
    """One MIG device in NVML's words; ``position`` is NVML's index, which nvidia-smi -L shows."""

    position: int
    uuid: str
    gpu_instance: int
    compute_instance: int
    profile: str
    memory_bytes: int


def list_proc_instances(proc_root: str, gpu_minor: int) -> tuple[NvmlMig, ...]:
    """The compute instances below ``/proc/driver/nvidia/capabilities/gpu<minor>/mig``."""
    directory = f"{proc_root}/driver/nvidia/capabilities/gpu{gpu_minor}/mig"
    found = []
    for gi in _list_numbered(directory, "gi"):
        found += [(gi, ci) for ci in _list_numbered(f"{directory}/gi{gi}", "ci")]
    return tuple(
        NvmlMig(position, "", gi, ci, "", 0) for position, (gi, ci) in enumerate(sorted(found))
    )


def find_mig_devices(
    view: DeviceView,
    told: Sequence[NvmlMig],
    gpu_index: int,
    gpu_minor: int,
    minors: Mapping[str, int],
    warnings: list[str],
) -> tuple[MigDevice, ...]:
    """The MIG devices with their nodes; one that lacks a node is left out with a warning."""
    devices = []
    for mig in told:
        place = f"{CAPABILITIES}/gpu{gpu_minor}/mig/gi{mig.gpu_instance}"
        name = f"gpu{gpu_minor}/gi{mig.gpu_instance}"
        instance = f"ci{mig.compute_instance}/access"
        pairs = (
            (f"{place}/access", f"{name}/access"),
            (f"{place}/{instance}", f"{name}/{instance}"),
        )
        capabilities = [
            find_capability(view, file, short, minors) or Capability(file, -1, None)
            for file, short in pairs
        ]
        nodes = tuple(one.node for one in capabilities if one.node is not None)
        if len(nodes) == len(capabilities):
            devices.append(MigDevice(*mig, nodes, tuple(one.file for one in capabilities)))
            continue
        label = ", ".join(word for word in (mig.profile, mig.uuid) if word)
        warnings.append(
            f"MIG device {gpu_index}:{mig.position}{f' ({label})' if label else ''} is left out: "
            + "; ".join(_say_missing(one) for one in capabilities if one.node is None)
        )
    return tuple(devices)


def _say_missing(capability: Capability) -> str:
    if not capability.node_path:
        return f"{capability.file} is missing, so that its node is unknown"
    return (
        f"its node {capability.node_path} is missing;"
        f" sudo nvidia-modprobe -f {capability.file} makes it"
    )


def _list_numbered(directory: str, prefix: str) -> list[int]:
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    numbers = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return [int(number) for number in numbers if number.isascii() and number.isdecimal()]
