"""The driver's character devices below a dev root, and the DRI nodes of a GPU through sysfs."""

import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from sampan.model.inventory import DeviceNode, DriverLink

StatFunction = Callable[[str], os.stat_result]
"""``os.lstat``, or what a test without device nodes puts in its place."""

CONTROL_NODES: tuple[str, ...] = (
    "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset",
)  # fmt: skip
WSL_CONTROL_NODES: tuple[str, ...] = ("/dev/dxg",)
TEGRA_PREFIXES: tuple[str, ...] = (
    "host1x-fence", "nvhost-", "nvidia0", "nvmap", "nvsciipc", "tegra_dc_", "v4l2-nvdec", "v4l2-nvenc",
)  # fmt: skip
"""Of names in ``/dev``: what Jetson's own devices.csv lists for its integrated GPU."""
TEGRA_GPU_DIRECTORY = "/dev/nvgpu"
"""Its subdirectories hold a GPU's nodes: ``igpu0``, since Thor ``igpu-<PCI address>``."""
DRI_BY_PATH = "/dev/dri/by-path"
NVIDIA_VENDOR = "0x10de"


def is_usable(host_path: str) -> bool:
    """Whether this process may open a node; a batch system's device cgroup says no, as modes do."""
    return os.access(host_path, os.R_OK | os.W_OK)


class DeviceView(NamedTuple):
    """Where devices are looked at, and how; a directory with files in their place can stand in."""

    dev_root: str = "/"
    proc_root: str = "/proc"
    sys_root: str = "/sys"
    node_stat: StatFunction = os.lstat
    node_usable: Callable[[str], bool] = is_usable

    def read(self, path: str) -> DeviceNode | None:
        """The character device ``path``, e.g. ``/dev/nvidia0``, or None."""
        return read_node(self.dev_root, path, self.node_stat)

    def find(self, paths: Iterable[str]) -> tuple[DeviceNode, ...]:
        """Those of ``paths`` that are character devices."""
        nodes = (self.read(path) for path in paths)
        return tuple(node for node in nodes if node is not None)

    def find_in(self, directory: str, prefixes: tuple[str, ...]) -> tuple[DeviceNode, ...]:
        """Nodes in ``directory`` whose names begin so, ``channel10`` after ``channel9``."""
        names = [name for name in self.list_names(directory) if name.startswith(prefixes)]
        names.sort(key=lambda name: (name.rstrip("0123456789"), len(name), name))
        return self.find(f"{directory}/{name}" for name in names)

    def list_names(self, directory: str) -> list[str]:
        """What a directory of the dev root holds, sorted; empty when there is none."""
        try:
            return sorted(os.listdir(host_path_of(self.dev_root, directory)))
        except OSError:
            return []


def host_path_of(dev_root: str, path: str) -> str:
    """``path`` (e.g. ``/dev/nvidia0``) below the dev root."""
    return path if dev_root == "/" else dev_root.rstrip("/") + path


def read_node(dev_root: str, path: str, node_stat: StatFunction = os.lstat) -> DeviceNode | None:
    """The character device ``path`` (e.g. ``/dev/nvidia0``) below ``dev_root``, or None."""
    host_path = host_path_of(dev_root, path)
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


def find_control_nodes(view: DeviceView, platform: str) -> tuple[DeviceNode, ...]:
    """The nodes that every GPU of this platform needs, as far as they exist."""
    if platform == "wsl":
        return view.find(WSL_CONTROL_NODES)
    nodes = view.find(CONTROL_NODES)
    if platform == "tegra":
        nodes += view.find_in("/dev", TEGRA_PREFIXES)
        for name in view.list_names(TEGRA_GPU_DIRECTORY):
            nodes += view.find_in(f"{TEGRA_GPU_DIRECTORY}/{name}", ("",))
    return nodes


def find_dri_nodes(view: DeviceView, pci_bus_id: str) -> tuple[DeviceNode, ...]:
    """``/dev/dri/card*`` and ``renderD*`` of the GPU at a PCI address; empty without nvidia-drm."""
    directory = f"{view.sys_root}/bus/pci/devices/{sysfs_address(pci_bus_id)}/drm"
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ()
    return view.find(f"/dev/dri/{name}" for name in names if name.startswith(("card", "renderD")))


def find_dri_links(view: DeviceView, nodes: Iterable[DeviceNode]) -> tuple[DriverLink, ...]:
    """The links of ``/dev/dri/by-path`` that lead to these nodes.

    The target is written anew, relative: one that names the dev root would lead nowhere inside.
    """
    wanted = {node.path.rpartition("/")[2] for node in nodes if node.path.startswith("/dev/dri/")}
    links = []
    for name in view.list_names(DRI_BY_PATH) if wanted else ():
        try:
            target = os.readlink(host_path_of(view.dev_root, f"{DRI_BY_PATH}/{name}"))
        except OSError:
            continue
        base = target.rpartition("/")[2]
        if base in wanted:
            links.append(DriverLink(f"{DRI_BY_PATH}/{name}", f"../{base}"))
    return tuple(links)


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
    """NVML's ``00010000:AF:00.0`` as the kernel writes it: ``10000:af:00.0``, four digits or more."""
    domain, _, rest = pci_bus_id.lower().partition(":")
    try:
        return f"{int(domain, 16):04x}:{rest}"
    except ValueError:
        return pci_bus_id.lower()


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
