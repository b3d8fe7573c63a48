"""Which GPUs of this host a request means; a name that nothing answers to is an error."""

from sampan.errors import SampanError
from sampan.model.inventory import Gpu, Inventory
from sampan.model.request import Request


class GpuSelectionError(SampanError):
    """The GPUs asked for are not there."""

    id = "gpu-unavailable"


class MigSelectionError(GpuSelectionError):
    """A MIG device, or a GPU in MIG mode as a whole."""

    id = "gpu-mig"


def select_gpus(request: Request, inventory: Inventory) -> tuple[Gpu, ...]:
    """The GPUs that the request means, in the host's order, each once.

    Raises:
        GpuSelectionError: an identifier is unknown, or more are wanted than exist; the evidence
            lists what is there.
        MigSelectionError: a MIG device or a GPU in MIG mode is asked for.
    """
    if not request.driver:
        return ()
    whole = tuple(gpu for gpu in inventory.gpus if not gpu.mig_enabled)
    if request.gpu_count is not None:
        if request.gpu_count > len(whole):
            raise _unavailable(
                f"{request.gpu_count} GPUs are wanted ({request.source}), {len(whole)} can be had",
                inventory,
            )
        return whole[: request.gpu_count]
    if request.devices == ("all",):
        if not whole:
            raise _unavailable(f"no GPU can be had ({request.source})", inventory)
        return whole
    chosen = {_find(word, request, inventory).nvml_index for word in request.devices}
    return tuple(gpu for gpu in inventory.gpus if gpu.nvml_index in chosen)


def describe_gpus(inventory: Inventory) -> str:
    """The host's GPUs in one line, for messages."""
    if not inventory.gpus:
        return "; ".join(["this host has no usable GPU", *inventory.warnings])
    return ", ".join(
        f"{gpu.nvml_index} = {gpu.name or 'GPU'} {gpu.uuid} {gpu.pci_bus_id}"
        + (" (in MIG mode)" if gpu.mig_enabled else "")
        for gpu in inventory.gpus
    )


def _find(word: str, request: Request, inventory: Inventory) -> Gpu:
    if word.upper().startswith("MIG-") or _is_mig_pair(word):
        raise MigSelectionError(
            f"{word!r} is a MIG device; MIG devices cannot be selected",
            evidence=f"asked for by {request.source}; GPUs: {describe_gpus(inventory)}",
            remedy="name a whole GPU that is not in MIG mode",
        )
    for gpu in inventory.gpus:
        if not _answers(gpu, word):
            continue
        if gpu.mig_enabled:
            raise MigSelectionError(
                f"GPU {word!r} is in MIG mode and cannot be used as a whole",
                evidence=f"asked for by {request.source}; GPUs: {describe_gpus(inventory)}",
                remedy=f"sudo nvidia-smi -i {gpu.nvml_index} -mig 0    or name another GPU",
            )
        return gpu
    raise _unavailable(f"there is no GPU {word!r} ({request.source})", inventory)


def _answers(gpu: Gpu, word: str) -> bool:
    if word.isascii() and word.isdecimal():
        return int(word) == gpu.nvml_index
    if word.upper().startswith("GPU-"):
        return bool(gpu.uuid) and word.lower() == gpu.uuid.lower()
    return ":" in word and normalise_bus_id(word) == normalise_bus_id(gpu.pci_bus_id)


def normalise_bus_id(text: str) -> str:
    """``0000:00:06.0``, ``00:06.0`` and NVML's eight-digit domain in one form."""
    parts = text.lower().split(":")
    domain = parts[0] if len(parts) == 3 else "0"
    return ":".join([domain.lstrip("0") or "0", *parts[-2:]])


def _is_mig_pair(word: str) -> bool:
    gpu, colon, device = word.partition(":")
    return bool(colon) and gpu.isdecimal() and device.isdecimal()


def _unavailable(cause: str, inventory: Inventory) -> GpuSelectionError:
    return GpuSelectionError(
        cause, evidence=describe_gpus(inventory), remedy="sampan gpus lists what this host has"
    )
