"""A cheap statement of the host's driver: equal text, same driver, nodes and GPUs.

It is taken at every start, so it only stats paths and reads a few small files of procfs: about a
hundred system calls. ``access`` is asked of each node because a batch system's device cgroup
hides GPUs from NVML, and renumbers them, without changing anything else that can be seen.
"""

import os
from collections.abc import Iterable

from sampan.driver.capabilities import CONFIGURATIONS, SOCKETS
from sampan.driver.places import PROGRAM_DIRECTORIES, SHARE_DIRECTORIES, known_directories
from sampan.driver.procfs import list_gpu_information, read_params, read_text
from sampan.driver.roots import Root
from sampan.model.inventory import Inventory


def list_watched(inventory: Inventory, machine: str) -> tuple[str, ...]:
    """Host paths whose change may change the inventory: files found, and where others may appear."""
    root = Root(inventory.driver_root)
    shares = ("/etc", *SHARE_DIRECTORIES)
    candidates = [
        "/etc/ld.so.cache",
        "/etc/alternatives",
        *known_directories(machine),
        *PROGRAM_DIRECTORIES,
        *(f"{share}/{name.rpartition('/')[0]}" for share in shares for name in CONFIGURATIONS),
        *SOCKETS,
    ]
    watched = dict.fromkeys(root.host_path(root.resolve(path)) for path in candidates)
    found = [(library.host_path, library.found_by) for library in inventory.libraries]
    for files in (
        inventory.binaries,
        inventory.configurations,
        inventory.firmware,
        inventory.sockets,
    ):
        found += [(file.host_path, file.found_by) for file in files]
    for host_path, found_by in found:
        watched.update(dict.fromkeys((host_path, os.path.dirname(host_path), found_by)))
    watched.update(dict.fromkeys(inventory.searched))
    return tuple(watched)


def take_fingerprint(watched: Iterable[str], dev_root: str, proc_root: str) -> str:
    """The text that stays equal as long as nothing has changed."""
    lines = [
        read_text(f"{proc_root}/sys/kernel/random/boot_id"),
        read_text(f"{proc_root}/driver/nvidia/version"),
        read_params(proc_root),
        str(os.geteuid()),
        *map(repr, list_gpu_information(proc_root)),
        *_list_mig(proc_root),
        *list_node_states(dev_root),
    ]
    for path in watched:
        try:
            status = os.lstat(path)
        except OSError:
            lines.append("-")
            continue
        lines.append(f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}")
    return "\n".join(lines)


def list_node_states(dev_root: str) -> list[str]:
    """One line for each NVIDIA and DRI node: name, number, owner, mode, and whether we may use it."""
    lines = []
    for directory in (f"{dev_root.rstrip('/')}/dev", f"{dev_root.rstrip('/')}/dev/dri"):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if not name.startswith(("nvidia", "card", "renderD")):
                continue
            path = f"{directory}/{name}"
            try:
                status = os.lstat(path)
            except OSError:
                continue
            usable = os.access(path, os.R_OK | os.W_OK)
            lines.append(
                f"{name} {status.st_rdev} {status.st_mode} {status.st_uid} {status.st_gid} {usable}"
            )
    return lines


def _list_mig(proc_root: str) -> list[str]:
    directory = f"{proc_root}/driver/nvidia/capabilities"
    try:
        names = sorted(name for name in os.listdir(directory) if name.startswith("gpu"))
    except OSError:
        return []
    lines = []
    for name in names:
        try:
            lines.append(f"{name} {sorted(os.listdir(f'{directory}/{name}/mig'))}")
        except OSError:
            lines.append(name)
    return lines
