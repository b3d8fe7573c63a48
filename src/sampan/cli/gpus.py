"""``sampan gpus``: the GPUs of this host, or exactly what a driver import would lack here."""

import argparse
import json

from sampan.cli.columns import format_columns
from sampan.cli.driver_options import add_driver_options, find_inventory
from sampan.cli.render import print_error, print_warning
from sampan.driver.absence import NoDriverError, require_driver
from sampan.model.inventory import Gpu, Inventory


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_driver_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """List the GPUs; exit code 1 when there is no usable driver or no GPU."""
    inventory = find_inventory(arguments)
    for warning in inventory.warnings:
        print_warning(warning)
    try:
        require_driver(inventory)
    except NoDriverError as error:
        print_error(error)
        return 1
    if arguments.format == "json":
        print(json.dumps([_describe(gpu) for gpu in inventory.gpus], indent=2))
    else:
        print(_summary(inventory))
        if inventory.gpus:
            print(format_columns(_HEADINGS, [_row(gpu) for gpu in inventory.gpus]))
    return 0 if inventory.gpus else 1


_HEADINGS = ("INDEX", "NAME", "UUID", "MEMORY", "ARCH", "BUS ID", "NODES")


def _summary(inventory: Inventory) -> str:
    cuda = f", CUDA up to {inventory.cuda_version}" if inventory.cuda_version else ""
    number = len(inventory.gpus)
    noun = "GPU" if number == 1 else "GPUs"
    return f"Driver {inventory.driver_version}{cuda}; {number} {noun}"


def _row(gpu: Gpu) -> tuple[str, ...]:
    return (
        str(gpu.nvml_index),
        gpu.name + (" (MIG mode)" if gpu.mig_enabled else ""),
        gpu.uuid or "-",
        f"{gpu.memory_bytes >> 20} MiB" if gpu.memory_bytes else "-",
        gpu.architecture or "-",
        gpu.pci_bus_id,
        " ".join(node.path for node in gpu.nodes),
    )


def _describe(gpu: Gpu) -> dict[str, object]:
    return {
        "index": gpu.nvml_index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "brand": gpu.brand,
        "memory_bytes": gpu.memory_bytes,
        "architecture": gpu.architecture,
        "pci_bus_id": gpu.pci_bus_id,
        "minor": gpu.minor,
        "mig_enabled": gpu.mig_enabled,
        "nodes": [node._asdict() for node in gpu.nodes],
    }
