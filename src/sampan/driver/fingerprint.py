"""A cheap statement of the host's driver: equal text, same driver, nodes, GPUs and MIG devices.

It is taken at every start, so it only stats paths and reads a few small files of procfs: some two
hundred system calls, half a millisecond. ``access`` is asked of each node because a batch system's
device cgroup hides GPUs from NVML, and renumbers them, without changing anything else that can be
seen.
"""

import os
from collections.abc import Iterable

from sampan.driver.procfs import list_gpu_information, read_params, read_text
from sampan.model.inventory import Inventory

_OPEN = os.R_OK | os.W_OK
_NODES: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("/dev", ("dxg", "gdrdrv", "host1x-fence", "nvhost-", "nvidia", "nvmap", "nvsciipc"), _OPEN),
    ("/dev/dri", ("card", "renderD"), _OPEN),
    ("/dev/nvidia-caps", ("nvidia-cap",), os.R_OK),
    ("/dev/infiniband", ("rdma_cm", "uverbs"), _OPEN),
)
"""Directories whose nodes are looked at one by one, how these are called and opened."""
_WHOLE: tuple[str, ...] = ("/dev/dri/by-path", "/dev/nvgpu", "/dev/nvidia-caps-imex-channels")
"""Directories of which it is enough that nothing came or went; there may be 2048 IMEX channels."""


def take_fingerprint(watched: Iterable[str], dev_root: str, proc_root: str) -> str:
    """The text that stays equal as long as nothing has changed.

    Args:
        watched: from ``watched.list_watched``, of the inventory in question.
        dev_root: directory that holds ``dev``.
        proc_root: where procfs is.
    """
    dev = dev_root.rstrip("/")
    lines = [
        read_text(f"{proc_root}/sys/kernel/random/boot_id"),
        read_text(f"{proc_root}/driver/nvidia/version"),
        read_params(proc_root),
        str(os.geteuid()),
        *map(repr, list_gpu_information(proc_root)),
        *_list_mig(proc_root),
        *list_node_states(dev_root),
        *(_identify(dev + directory) for directory in _WHOLE),
        *(_identify(path) for path in watched),
    ]
    return "\n".join(lines)


def list_node_states(dev_root: str) -> list[str]:
    """One line for each node of the driver: name, number, mode, owner, and whether we may use it."""
    lines = []
    for directory, prefixes, way in _NODES:
        place = dev_root.rstrip("/") + directory
        try:
            names = sorted(name for name in os.listdir(place) if name.startswith(prefixes))
        except OSError:
            continue
        for name in names:
            path = f"{place}/{name}"
            try:
                mode, _, _, _, uid, gid, *_ = status = os.lstat(path)
            except OSError:
                continue
            lines.append(f"{name} {status.st_rdev} {mode} {uid} {gid} {os.access(path, way)}")
    return lines


def fingerprint_text(inventory: Inventory) -> str:
    """32 hexadecimal digits that stay equal as long as an import of this driver would be the same.

    Versions, paths, nodes, GPUs and MIG devices count; warnings do not, nor when files were
    installed. It is what a CDI specification is marked with, so that a later look at the host says
    whether the specification still fits.
    """
    import hashlib
    import json

    lasting = inventory._replace(warnings=(), searched=(), params="", pci_devices=())
    return hashlib.blake2b(json.dumps(lasting).encode(), digest_size=16).hexdigest()


def _identify(path: str) -> str:
    try:
        status = os.lstat(path)
    except OSError:
        return "-"
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"


def _list_mig(proc_root: str) -> list[str]:
    """The GPU and compute instances, and when procfs first showed each.

    An instance may be followed by another of the same number; its entry in procfs is a new one.
    """
    directory = f"{proc_root}/driver/nvidia/capabilities"
    lines = []
    for gpu in _list_names(directory, "gpu"):
        lines.append(gpu)
        for gi in _list_names(f"{directory}/{gpu}/mig", "gi"):
            place = f"{directory}/{gpu}/mig/{gi}"
            lines.append(gi)
            lines += [f"{ci} {_identify(f'{place}/{ci}')}" for ci in _list_names(place, "ci")]
    return lines


def _list_names(directory: str, prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.startswith(prefix))
    except OSError:
        return []
