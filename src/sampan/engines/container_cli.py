"""What ``nvidia-container-cli info`` and ``list`` say, from the inventory (LNC ``src/cli``)."""

from collections.abc import Mapping
from typing import Any

from sampan.driver.absence import require_driver
from sampan.driver.cache import current_inventory
from sampan.engines.foreign_container import locate_dev_root
from sampan.gpus.selection import select_gpus
from sampan.model.inventory import Gpu, Inventory
from sampan.model.request import Request


def render_info(settings: dict[str, Any], *, as_csv: bool = False) -> str:
    """Driver and GPUs as the original prints them.

    Raises:
        NoDriverError: there is no usable driver.
    """
    inventory = _inventory(settings)
    if as_csv:
        lines = ["NVRM version,CUDA version", f"{_version(inventory)},{inventory.cuda_version}"]
        lines += ["", "Device Index,Device Minor,Model,Brand,GPU UUID,Bus Location,Architecture"]
        lines += [",".join(value for _, value in _describe(gpu)) for gpu in inventory.gpus]
        return "\n".join(lines) + "\n"
    lines = [
        f"{'NVRM version:':<16}{_version(inventory)}",
        f"{'CUDA version:':<16}{inventory.cuda_version}",
    ]
    for gpu in inventory.gpus:
        lines.append("")
        lines += [f"{name + ':':<16}{value}" for name, value in _describe(gpu)]
    return "\n".join(lines) + "\n"


def list_parts(
    settings: dict[str, Any], parts: Mapping[str, bool], devices: str | None, *, compat32: bool
) -> list[str]:
    """Host paths, one an item; without any part asked for, all of them.

    Args:
        settings: from ``dropin.settings``.
        parts: of ``devices``, ``libraries``, ``binaries``, ``ipcs``: what is asked for.
        devices: comma list, ``all``; None = not asked for.
        compat32: also libraries of 32 bits.

    Raises:
        NoDriverError, GpuSelectionError: no driver, no such GPU.
    """
    inventory = _inventory(settings)
    everything = not any(parts.values())
    paths: list[str] = []
    if everything or parts["devices"]:
        paths += [node.host_path for node in inventory.control_nodes]
        words = tuple(word for word in (devices or "all").split(",") if word)
        wish = Request(True, words, None, (), "--device")
        for gpu in select_gpus(wish, inventory):
            paths += [node.host_path for node in gpu.nodes]
            paths += [node.host_path for part in gpu.mig_devices for node in part.nodes]
    if everything or parts["binaries"]:
        paths += [file.host_path for file in inventory.binaries]
    if everything or parts["libraries"]:
        widths = (64, 32) if everything or compat32 else (64,)
        paths += [one.host_path for one in inventory.libraries if one.bits in widths]
    if everything or parts["ipcs"]:
        paths += [file.host_path for file in inventory.sockets]
    return list(dict.fromkeys(paths))


def _inventory(settings: dict[str, Any]) -> Inventory:
    inventory = current_inventory(
        settings["driver_root"].rstrip("/") or "/",
        locate_dev_root(settings),
        proc_root=settings["proc_root"],
        sys_root=settings["sys_root"],
    )
    require_driver(inventory)
    return inventory


def _version(inventory: Inventory) -> str:
    return inventory.module_version or inventory.driver_version


def _describe(gpu: Gpu) -> list[tuple[str, str]]:
    return [
        ("Device Index", str(gpu.nvml_index)),
        ("Device Minor", str(gpu.minor)),
        ("Model", gpu.name),
        ("Brand", gpu.brand),
        ("GPU UUID", gpu.uuid),
        ("Bus Location", gpu.pci_bus_id),
        ("Architecture", gpu.architecture),
    ]
