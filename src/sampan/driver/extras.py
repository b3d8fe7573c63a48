"""What is imported only when it is asked for by name: IMEX, NVSwitch, GPUDirect, MIG's management.

Which nodes and files belong to which is the field note's section 3.4; the capabilities of fabric and
IMEX managers are those of the kernel module's table (nvidia-caps). A kind without a node on this
host is absent.
"""

import os
import stat
from collections.abc import Mapping

from sampan.driver.caps import CAPABILITIES, NVLINK_CAPABILITIES, find_capability
from sampan.driver.nodes import DeviceView
from sampan.driver.roots import Root
from sampan.model.inventory import EXTRA_KINDS, DriverFile, Extra

IMEX_CHANNELS = "/dev/nvidia-caps-imex-channels"
INFINIBAND = "/dev/infiniband"
GDS_FILES: tuple[str, ...] = ("/etc/cufile.json", "/run/udev")
_CAPABILITY_FILES: dict[str, tuple[str, str]] = {
    "fabric-imex-mgmt": (f"{CAPABILITIES}/fabric-imex-mgmt", "fabric-imex-mgmt"),
    "mig-config": (f"{CAPABILITIES}/mig/config", "config"),
    "mig-monitor": (f"{CAPABILITIES}/mig/monitor", "monitor"),
}
_FABRIC_MANAGEMENT = (f"{NVLINK_CAPABILITIES}/fabric-mgmt", "fabric-mgmt")


def find_extras(view: DeviceView, root: Root, minors: Mapping[str, int]) -> tuple[Extra, ...]:
    """The kinds that this host has, in the order of EXTRA_KINDS."""
    found = {
        "gdrcopy": Extra("gdrcopy", view.find(("/dev/gdrdrv",))),
        "gds": Extra("gds", view.find_in("/dev", ("nvidia-fs",))),
        "imex": Extra("imex", view.find_in(IMEX_CHANNELS, ("channel",))),
        "mofed": Extra(
            "mofed",
            view.find_in(INFINIBAND, ("uverbs",)) + view.find((f"{INFINIBAND}/rdma_cm",)),
        ),
        "nvswitch": _find_nvswitch(view),
    }
    if found["gds"].nodes:
        found["gds"] = found["gds"]._replace(files=_find_files(root, GDS_FILES))
    fabric = found["nvswitch"].nodes and find_capability(view, *_FABRIC_MANAGEMENT, minors)
    if fabric and fabric.node is not None:
        nodes = (*view.find(("/dev/nvidia-nvlink",)), fabric.node)
        found["fabric-mgmt"] = Extra("fabric-mgmt", nodes, access_files=(fabric.file,))
    for kind, (file, name) in _CAPABILITY_FILES.items():
        capability = find_capability(view, file, name, minors)
        if capability is not None and capability.node is not None:
            found[kind] = Extra(kind, (capability.node,), access_files=(capability.file,))
    return tuple(found[kind] for kind in EXTRA_KINDS if kind in found and found[kind].nodes)


def _find_nvswitch(view: DeviceView) -> Extra:
    """The switches alone: configuring the fabric is another right (``fabric-mgmt``)."""
    control = view.find(("/dev/nvidia-nvswitchctl",))
    switches = view.find_in("/dev", ("nvidia-nvswitch",))
    return Extra(
        "nvswitch",
        control + tuple(node for node in switches if node.path != "/dev/nvidia-nvswitchctl"),
    )


def _find_files(root: Root, paths: tuple[str, ...]) -> tuple[DriverFile, ...]:
    found = []
    for path in paths:
        host_path = root.host_path(root.resolve(path))
        try:
            mode = os.lstat(host_path).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            directory, _, name = path.rpartition("/")
            found.append(DriverFile(name, host_path, (), root.host_path(directory), directory))
    return tuple(found)
