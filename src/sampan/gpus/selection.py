"""Which GPUs of this host a request means; a name that nothing answers to is an error.

A GPU in MIG mode is not addressable as a whole: its MIG devices are. A selected one is a ``Gpu``
that holds just the selected MIG devices. ``all`` is every whole GPU and every MIG device; a count
takes the first whole GPUs, as docker's ids 0 to N-1 do where nothing is in MIG mode.
"""

from collections.abc import Iterator

from sampan.errors import SampanError
from sampan.model.inventory import Gpu, Inventory, MigDevice
from sampan.model.request import Request

LISTED = 16
"""GPUs and MIG devices that a message names."""
WHOLE = -1
"""In a chosen set, stands for a GPU that is not in MIG mode."""


class GpuSelectionError(SampanError):
    """The GPUs asked for are not there."""

    id = "gpu-unavailable"


class MigSelectionError(GpuSelectionError):
    """A MIG device that is not there, or a GPU in MIG mode as a whole."""

    id = "gpu-mig"


def select_gpus(request: Request, inventory: Inventory) -> tuple[Gpu, ...]:
    """The GPUs that the request means, in the host's order, each once.

    Args:
        request: one of idle GPUs has been answered (``idle``), so that ``devices`` names them.
        inventory: of the host.

    Raises:
        GpuSelectionError: an identifier is unknown, or more are wanted than exist; the evidence
            lists what is there.
        MigSelectionError: a GPU in MIG mode is wanted as a whole, or there is no such MIG device.
    """
    if not request.driver:
        return ()
    if request.gpu_count is not None:
        return _first(request.gpu_count, request, inventory)
    if request.devices == ("all",):
        usable = tuple(gpu for gpu in inventory.gpus if gpu.mig_devices or not gpu.mig_enabled)
        if not usable:
            raise _unavailable(f"no GPU can be had ({request.source})", inventory)
        return usable
    chosen: dict[int, set[int]] = {}
    for word in request.devices:
        gpu, position = _find(word, request, inventory)
        chosen.setdefault(gpu.nvml_index, set()).add(position)
    return tuple(
        _narrow(gpu, chosen[gpu.nvml_index]) for gpu in inventory.gpus if gpu.nvml_index in chosen
    )


def describe_gpus(inventory: Inventory) -> str:
    """The host's GPUs and MIG devices in one line, for messages; the first of very many."""
    if not inventory.gpus:
        return "; ".join(["this host has no usable GPU", *inventory.warnings])
    texts = [text for gpu in inventory.gpus for text in _describe(gpu)]
    further = len(texts) - LISTED
    return ", ".join(texts[:LISTED]) + (f" and {further} more" if further > 0 else "")


def _describe(gpu: Gpu) -> Iterator[str]:
    mode = ""
    if gpu.mig_enabled:
        mode = " (in MIG mode)" if gpu.mig_devices else " (in MIG mode, without MIG devices)"
    yield f"{gpu.nvml_index} = {gpu.name or 'GPU'} {gpu.uuid} {gpu.pci_bus_id}{mode}"
    for device in gpu.mig_devices:
        yield f"{gpu.nvml_index}:{device.position} = MIG {device.profile} {device.uuid}"


def _first(count: int, request: Request, inventory: Inventory) -> tuple[Gpu, ...]:
    whole = tuple(gpu for gpu in inventory.gpus if not gpu.mig_enabled)
    if count <= len(whole):
        return whole[:count]
    cause = f"{count} GPUs are wanted ({request.source}), {len(whole)} can be had"
    parts = [gpu for gpu in inventory.gpus if gpu.mig_devices]
    if not parts:
        raise _unavailable(cause, inventory)
    names = ",".join(f"{gpu.nvml_index}:{gpu.mig_devices[0].position}" for gpu in parts[:count])
    raise MigSelectionError(
        f"{cause}: a GPU in MIG mode does not count",
        evidence=describe_gpus(inventory),
        remedy=f"name MIG devices: --gpus device={names}",
    )


def _find(word: str, request: Request, inventory: Inventory) -> tuple[Gpu, int]:
    """The GPU a word means, and the position of the MIG device on it, or WHOLE."""
    if word.upper().startswith("MIG-") or _is_mig_pair(word):
        for gpu in inventory.gpus:
            for device in gpu.mig_devices:
                if _answers_mig(gpu, device, word):
                    return gpu, device.position
        raise MigSelectionError(
            f"there is no MIG device {word!r} ({request.source})",
            evidence=describe_gpus(inventory),
            remedy="sampan gpus lists what this host has",
        )
    for gpu in inventory.gpus:
        if not _answers(gpu, word):
            continue
        if gpu.mig_enabled:
            raise _refuse_whole(gpu, word, request)
        return gpu, WHOLE
    raise _unavailable(f"there is no GPU {word!r} ({request.source})", inventory)


def _narrow(gpu: Gpu, positions: set[int]) -> Gpu:
    if WHOLE in positions:
        return gpu
    devices = tuple(device for device in gpu.mig_devices if device.position in positions)
    return gpu._replace(mig_devices=devices)


def _answers(gpu: Gpu, word: str) -> bool:
    if word.isascii() and word.isdecimal():
        return word.lstrip("0") == str(gpu.nvml_index).lstrip("0")
    if word.upper().startswith("GPU-"):
        return bool(gpu.uuid) and word.lower() == gpu.uuid.lower()
    return ":" in word and normalise_bus_id(word) == normalise_bus_id(gpu.pci_bus_id)


def _answers_mig(gpu: Gpu, device: MigDevice, word: str) -> bool:
    if ":" in word:
        index, _, position = word.partition(":")
        return _answers(gpu, index) and position.lstrip("0") == str(device.position).lstrip("0")
    lowered = word.lower()
    if lowered.startswith("mig-gpu-"):
        # The name of drivers before 470: the parent's UUID, GPU instance, compute instance.
        old = f"mig-{gpu.uuid}/{device.gpu_instance}/{device.compute_instance}"
        return bool(gpu.uuid) and lowered == old.lower()
    return bool(device.uuid) and lowered == device.uuid.lower()


def normalise_bus_id(text: str) -> str:
    """``0000:00:06.0``, ``00:06.0`` and NVML's eight-digit domain in one form."""
    parts = text.lower().split(":")
    domain = parts[0] if len(parts) == 3 else "0"
    return ":".join([domain.lstrip("0") or "0", *parts[-2:]])


def _is_mig_pair(word: str) -> bool:
    gpu, colon, device = word.partition(":")
    return bool(colon) and gpu.isdecimal() and device.isdecimal()


def _refuse_whole(gpu: Gpu, word: str, request: Request) -> MigSelectionError:
    parts = [f"{gpu.nvml_index}:{device.position}" for device in gpu.mig_devices]
    remedy = f"sudo nvidia-smi -i {gpu.nvml_index} -mig 0    or name another GPU"
    if not parts:
        remedy = f"sudo nvidia-smi mig -i {gpu.nvml_index} -lgip    lists what can be made of it    or: {remedy}"
    else:
        remedy = f"--gpus device={','.join(parts)} names its MIG devices    or: {remedy}"
    return MigSelectionError(
        f"GPU {word!r} is in MIG mode and cannot be used as a whole ({request.source})",
        evidence=", ".join(_describe(gpu)),
        remedy=remedy,
    )


def _unavailable(cause: str, inventory: Inventory) -> GpuSelectionError:
    return GpuSelectionError(
        cause, evidence=describe_gpus(inventory), remedy="sampan gpus lists what this host has"
    )
