"""How busy the GPUs are now: memory, utilisation, processes; asked of NVML, never kept."""

from typing import Any

from sampan.driver.nvml import (
    NVML_SONAME,
    TIMEOUT_S,
    NvmlError,
    ask,
    ask_nvml,
    find_nvml,
    list_mig_handles,
)
from sampan.model.inventory import GpuUsage, Inventory


def read_usage(inventory: Inventory, *, timeout_s: float = TIMEOUT_S) -> tuple[GpuUsage, ...]:
    """One record for each GPU of the inventory that NVML describes, then for each MIG device of it.

    Raises:
        NvmlError: the inventory has no NVML, or it does not answer.
    """
    library = find_nvml(inventory.libraries)
    if not library:
        raise NvmlError(
            "the use of the GPUs is unknown: there is no NVML",
            evidence=f"no {NVML_SONAME} below {inventory.driver_root}",
        )
    document = ask_nvml(library, _describe, timeout_s=timeout_s)
    known = {gpu.uuid: gpu.nvml_index for gpu in inventory.gpus}
    found = []
    for uuid, rows in document["gpus"]:
        if uuid in known:
            found += [GpuUsage(known[uuid], *row) for row in rows]
    return tuple(found)


def _describe(nvml: Any) -> dict[str, Any]:  # the binding has no types
    gpus = []
    for position in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(position)
            uuid = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError:
            continue
        rows = [_describe_use(nvml, -1, uuid, handle)]
        for number, mig in list_mig_handles(nvml, handle):
            name = ask(nvml, "", nvml.nvmlDeviceGetUUID, mig)
            rows.append(_describe_use(nvml, number, name, mig))
        gpus.append((uuid, rows))
    return {"gpus": gpus}


def _describe_use(nvml: Any, position: int, uuid: str, handle: Any) -> tuple[object, ...]:
    memory = ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle)
    rates = ask(nvml, None, nvml.nvmlDeviceGetUtilizationRates, handle)
    processes = [
        *ask(nvml, [], nvml.nvmlDeviceGetComputeRunningProcesses, handle),
        *ask(nvml, [], nvml.nvmlDeviceGetGraphicsRunningProcesses, handle),
    ]
    return (
        position,
        uuid,
        int(memory.used) if memory else 0,
        int(memory.total) if memory else 0,
        int(rates.gpu) if rates else -1,
        len({process.pid for process in processes}),
    )
