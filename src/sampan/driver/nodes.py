"""The driver's character devices below a dev root, and the DRI nodes of a GPU through sysfs."""

import os
import stat
from collections.abc import Callable

from sampan.model.inventory import DeviceNode

StatFunction = Callable[[str], os.stat_result]
"""``os.lstat``, or what a test without device nodes puts in its place."""

CONTROL_NODES: tuple[str, ...] = (
    "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset",
)  # fmt: skip
NVIDIA_VENDOR = "0x10de"


def read_node(dev_root: str, path: str, node_stat: StatFunction = os.lstat) -> DeviceNode | None:
    """The character device ``path`` (e.g. ``/dev/nvidia0``) below ``dev_root``, or None."""
    host_path = path if dev_root == "/" else dev_root.rstrip("/") + path
    try:
        status = node_stat(host_path)
    except OSError:
        return None
    if not stat.S_ISCHR(status.st_mode):
        return None
    return DeviceNode(
        path,
        host_path,
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
    )


def find_control_nodes(dev_root: str, node_stat: StatFunction) -> tuple[DeviceNode, ...]:
    """Those of CONTROL_NODES that exist."""
    nodes = (read_node(dev_root, path, node_stat) for path in CONTROL_NODES)
    return tuple(node for node in nodes if node is not None)


def find_dri_nodes(
    dev_root: str, sys_root: str, pci_bus_id: str, node_stat: StatFunction
) -> tuple[DeviceNode, ...]:
    """``/dev/dri/card*`` and ``renderD*`` of the GPU at a PCI address; empty without nvidia-drm."""
    directory = f"{sys_root}/bus/pci/devices/{sysfs_address(pci_bus_id)}/drm"
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ()
    nodes = (
        read_node(dev_root, f"/dev/dri/{name}", node_stat)
        for name in names
        if name.startswith(("card", "renderD"))
    )
    return tuple(node for node in nodes if node is not None)


def find_pci_devices(sys_root: str) -> tuple[str, ...]:
    """Addresses of NVIDIA display controllers on the PCI bus, whether a driver is bound or not."""
    directory = f"{sys_root}/bus/pci/devices"
    try:
        addresses = sorted(os.listdir(directory))
    except OSError:
        return ()
    return tuple(
        address
        for address in addresses
        if _read_word(f"{directory}/{address}/vendor") == NVIDIA_VENDOR
        and _read_word(f"{directory}/{address}/class").startswith("0x03")
    )


def sysfs_address(pci_bus_id: str) -> str:
    """NVML's ``00000000:00:06.0`` as sysfs writes it: ``0000:00:06.0``."""
    domain, _, rest = pci_bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _read_word(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 64).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        os.close(descriptor)
