"""``sampan gpus``: the GPUs of this host, or exactly what a driver import would lack here."""

import argparse
import json

from sampan.cli.columns import format_columns
from sampan.cli.driver_options import add_driver_options, find_inventory
from sampan.cli.render import print_error, print_warning
from sampan.driver.absence import NoDriverError, require_driver
from sampan.engines.leases import Holder, describe_holder, list_holders
from sampan.errors import SampanError
from sampan.model.inventory import Gpu, GpuUsage, Inventory, MigDevice

WHOLE = -1
"""Position of the GPU itself among its MIG devices, as in ``GpuUsage.mig_position``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_driver_options(parser)
    parser.add_argument(
        "-L", "--list", action="store_true", help="the lines that nvidia-smi -L prints, no more"
    )
    parser.add_argument(
        "--usage", action="store_true", help="with memory in use, utilisation and processes"
    )


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
    usage = _read_usage(inventory) if arguments.usage else {}
    if arguments.format == "json":
        document = [_describe(gpu, usage, with_usage=arguments.usage) for gpu in inventory.gpus]
        leases = _list_leases()
        for described in document:
            holder = leases.get(str(described["uuid"] or described["pci_bus_id"]))
            described["lease"] = holder._asdict() if holder else None
        print(json.dumps(document, indent=2))
    elif arguments.list:
        print("\n".join(line for gpu in inventory.gpus for line in _list_lines(gpu)))
    else:
        print(_summary(inventory))
        if inventory.gpus:
            print(_table(inventory, usage, with_usage=arguments.usage))
        for holder in _list_leases().values():
            if holder.gpu in _name_all(inventory):
                print(f"Leased: {holder.gpu} to {describe_holder(holder)}")
    return 0 if inventory.gpus else 1


_PLATFORMS = {"wsl": "Windows", "tegra": "this board"}
"""Whose drivers may not say their version."""
_Usage = dict[tuple[int, int], GpuUsage]


def _list_leases() -> dict[str, Holder]:
    return {holder.gpu: holder for holder in list_holders()}


def _name_all(inventory: Inventory) -> set[str]:
    """The names under which GPUs and MIG devices of this host may be leased."""
    gpus = {gpu.uuid or gpu.pci_bus_id for gpu in inventory.gpus}
    return gpus | {mig.uuid for gpu in inventory.gpus for mig in gpu.mig_devices}


def _read_usage(inventory: Inventory) -> _Usage:
    from sampan.driver.usage import read_usage

    try:
        found = read_usage(inventory)
    except SampanError as error:
        print_warning(str(error))
        return {}
    return {(one.nvml_index, one.mig_position): one for one in found}


def _summary(inventory: Inventory) -> str:
    cuda = f", CUDA up to {inventory.cuda_version}" if inventory.cuda_version else ""
    counted = _count(len(inventory.gpus), "GPU")
    slices = sum(len(gpu.mig_devices) for gpu in inventory.gpus)
    mig = f", {_count(slices, 'MIG device')}" if slices else ""
    version = inventory.driver_version or f"of {_PLATFORMS.get(inventory.platform, 'the host')}"
    return f"Driver {version}{cuda}; {counted}{mig}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(inventory: Inventory, usage: _Usage, *, with_usage: bool) -> str:
    busy = ("USED", "UTIL", "PROCESSES") if with_usage else ()
    rows = []
    for gpu in inventory.gpus:
        rows.append(_row(gpu, _busy(usage.get((gpu.nvml_index, WHOLE))) if with_usage else ()))
        rows += [
            _mig_row(gpu, mig, _busy(usage.get((gpu.nvml_index, mig.position))) if busy else ())
            for mig in gpu.mig_devices
        ]
    return format_columns(
        ("INDEX", "NAME", "UUID", "MEMORY", *busy, "ARCH", "BUS ID", "NODES"), rows
    )


def _row(gpu: Gpu, busy: tuple[str, ...]) -> tuple[str, ...]:
    return (
        str(gpu.nvml_index),
        gpu.name + (" (MIG mode)" if gpu.mig_enabled else ""),
        gpu.uuid or "-",
        _mebibytes(gpu.memory_bytes),
        *busy,
        gpu.architecture or "-",
        gpu.pci_bus_id or "-",
        " ".join(node.path for node in gpu.nodes) or "-",
    )


def _mig_row(gpu: Gpu, mig: MigDevice, busy: tuple[str, ...]) -> tuple[str, ...]:
    return (
        f"{gpu.nvml_index}:{mig.position}",
        f"MIG {mig.profile}".rstrip(),
        mig.uuid or "-",
        _mebibytes(mig.memory_bytes),
        *busy,
        gpu.architecture or "-",
        gpu.pci_bus_id or "-",
        " ".join(node.path for node in mig.nodes),
    )


def _busy(usage: GpuUsage | None) -> tuple[str, ...]:
    if usage is None:
        return ("-", "-", "-")
    used = f"{usage.memory_used_bytes >> 20} MiB" if usage.memory_bytes else "-"
    utilization = f"{usage.utilization_percent} %" if usage.utilization_percent >= 0 else "-"
    return (used, utilization, str(usage.process_count))


def _mebibytes(size: int) -> str:
    return f"{size >> 20} MiB" if size else "-"


def _list_lines(gpu: Gpu) -> list[str]:
    lines = [f"GPU {gpu.nvml_index}: {gpu.name} (UUID: {gpu.uuid})"]
    lines += [
        f"  MIG {mig.profile:<11} Device {mig.position:2}: (UUID: {mig.uuid})"
        for mig in gpu.mig_devices
    ]
    return lines


def _describe(gpu: Gpu, usage: _Usage, *, with_usage: bool) -> dict[str, object]:
    document: dict[str, object] = {
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
        "links": [link._asdict() for link in gpu.links],
    }
    migs = [
        {**mig._asdict(), "nodes": [node._asdict() for node in mig.nodes]}
        for mig in gpu.mig_devices
    ]
    if with_usage:
        document["usage"] = _describe_usage(usage.get((gpu.nvml_index, WHOLE)))
        for mig in migs:
            mig["usage"] = _describe_usage(usage.get((gpu.nvml_index, int(mig["position"]))))
    document["mig_devices"] = migs
    return document


def _describe_usage(usage: GpuUsage | None) -> dict[str, object] | None:
    if usage is None:
        return None
    return {
        "memory_used_bytes": usage.memory_used_bytes,
        "utilization_percent": usage.utilization_percent
        if usage.utilization_percent >= 0
        else None,
        "process_count": usage.process_count,
    }
