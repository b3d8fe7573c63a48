"""Says what a machine lacks for a driver import: cause, evidence and remedy from the inventory."""

from sampan.errors import SampanError
from sampan.model.inventory import Inventory


class NoDriverError(SampanError):
    """The host has no usable NVIDIA driver."""

    id = "no-driver"


def require_driver(inventory: Inventory, *, wanted_by: str = "") -> None:
    """Return when the host's driver can be imported.

    Args:
        inventory: the host's.
        wanted_by: what asked for it, for the cause, e.g. ``--gpus all``.

    Raises:
        NoDriverError: naming each part that is missing and where it was looked for.
    """
    missing = list_missing(inventory)
    if inventory.platform != "none" and not missing:
        return
    cause = "this machine has no usable NVIDIA driver"
    raise NoDriverError(
        f"{wanted_by} cannot be met: {cause}" if wanted_by else cause,
        evidence="; ".join([*missing, *_describe_pci(inventory)]),
        remedy=_choose_remedy(inventory, wanted_by),
    )


def list_missing(inventory: Inventory) -> list[str]:
    """Each part of a working driver that this host lacks, with the place looked at."""
    missing = []
    discrete = _is_discrete(inventory)
    if discrete and not inventory.module_version:
        missing.append("the kernel module is not loaded (no /proc/driver/nvidia/version)")
    if not _has_cuda(inventory):
        places = ", ".join(inventory.searched) or "no known directory"
        file = "libcuda.so.<driver version>" if discrete else "libcuda.so.1"
        missing.append(
            f"no {file} in ld.so.cache's directories nor in"
            f" {len(inventory.searched)} searched ({places})"
        )
    dev = "" if inventory.dev_root == "/" else inventory.dev_root
    if discrete and not _has_node(inventory, "/dev/nvidiactl"):
        missing.append(f"no device node {dev}/dev/nvidiactl")
    return missing


def _is_discrete(inventory: Inventory) -> bool:
    """Whether neither WSL's node nor a Tegra's are here; without libraries the platform is none."""
    return not (
        inventory.platform in ("wsl", "tegra")
        or _has_node(inventory, "/dev/dxg")
        or _has_node(inventory, "/dev/nvmap")
    )


def _has_cuda(inventory: Inventory) -> bool:
    return any(library.soname == "libcuda.so.1" for library in inventory.libraries)


def _has_node(inventory: Inventory, path: str) -> bool:
    return any(node.path == path for node in inventory.control_nodes)


def _describe_pci(inventory: Inventory) -> list[str]:
    if inventory.pci_devices:
        return [f"NVIDIA hardware on the PCI bus: {', '.join(inventory.pci_devices)}"]
    return ["no NVIDIA display controller on the PCI bus"] if _is_discrete(inventory) else []


def _choose_remedy(inventory: Inventory, wanted_by: str) -> str:
    libraries = _has_cuda(inventory)
    if _has_node(inventory, "/dev/dxg"):
        return "install NVIDIA's driver in Windows, then in Windows: wsl --shutdown"
    if not _is_discrete(inventory):
        return "sudo apt-get install nvidia-jetpack, or nvidia-l4t-cuda and nvidia-l4t-core"
    if not inventory.module_version and not inventory.pci_devices and not libraries:
        other = "use a machine that has an NVIDIA GPU"
        return f"run without {wanted_by}, or {other}" if wanted_by else other
    if not inventory.module_version and libraries:
        return (
            "sudo modprobe nvidia && sudo nvidia-modprobe -c=0 -u (after a driver update: reboot)"
        )
    if not libraries and inventory.module_version:
        return (
            f"install the user-space libraries of driver {inventory.module_version}"
            " (Debian: sudo apt-get install libcuda1 libnvidia-ml1 nvidia-smi), or say where they"
            " are: sampan gpus --driver-root DIR"
        )
    if libraries:
        return "sudo nvidia-modprobe -c=0 -u"
    return (
        "install the NVIDIA driver (Debian: sudo apt-get install nvidia-driver;"
        " Ubuntu: sudo ubuntu-drivers install), then sudo modprobe nvidia"
    )
