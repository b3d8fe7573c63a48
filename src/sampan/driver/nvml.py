"""What NVML says of the GPUs, asked of the driver root's own libnvidia-ml in a child process.

A child, because the library is the host driver's: it may crash on a broken driver, hang on a lost
GPU, or leave a thread behind, and our own process must enter new namespaces afterwards.
"""

import json
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.kernel.isolated import IsolatedError, call_isolated

TIMEOUT_S = 30.0


class NvmlError(SampanError):
    """NVML could not be loaded or did not answer."""

    id = "nvml"


class NvmlGpu(NamedTuple):
    """One GPU in NVML's words; minor -1, empty texts and 0 bytes where NVML does not say."""

    nvml_index: int
    uuid: str
    minor: int
    pci_bus_id: str
    name: str
    architecture: str
    brand: str
    memory_bytes: int
    mig_enabled: bool


class NvmlAnswer(NamedTuple):
    """The driver and its GPUs; ``cuda_version`` e.g. ``13.0``."""

    driver_version: str
    cuda_version: str
    gpus: tuple[NvmlGpu, ...]
    warnings: tuple[str, ...]


def query_nvml(library: str, *, timeout_s: float = TIMEOUT_S) -> NvmlAnswer:
    """Ask the libnvidia-ml at host path ``library``.

    Raises:
        NvmlError: with NVML's own words as evidence.
    """
    try:
        answer = call_isolated(lambda: _answer(library), timeout_s=timeout_s)
        document: dict[str, Any] = json.loads(answer)
    except IsolatedError as error:
        raise NvmlError(f"NVML of {library} gave no answer", evidence=error.evidence) from error
    except (OSError, ValueError) as error:
        raise NvmlError(f"NVML of {library} gave no answer", evidence=str(error)) from error
    if "error" in document:
        raise NvmlError(f"NVML of {library} cannot be used", evidence=document["error"])
    return NvmlAnswer(
        document["driver_version"],
        document["cuda_version"],
        tuple(NvmlGpu(**gpu) for gpu in document["gpus"]),
        tuple(document["warnings"]),
    )


def _answer(library: str) -> bytes:
    from sampan.kernel.shared_library import load_shared_library

    try:
        load_shared_library(library)
        import pynvml
    except (OSError, ImportError) as error:
        return json.dumps({"error": str(error)}).encode()
    try:
        pynvml.nvmlInit()
        document = _describe(pynvml)
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        document = {"error": str(error)}
    return json.dumps(document).encode()


def _describe(nvml: Any) -> dict[str, Any]:  # the binding has no types
    gpus = []
    warnings = []
    for position in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(position)
            gpus.append(_describe_gpu(nvml, position, handle))
        except nvml.NVMLError as error:
            warnings.append(f"GPU {position} is left out: NVML says {error}")
    cuda = int(_ask(nvml, 0, nvml.nvmlSystemGetCudaDriverVersion))
    return {
        "driver_version": _text(_ask(nvml, "", nvml.nvmlSystemGetDriverVersion)),
        "cuda_version": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        "gpus": gpus,
        "warnings": warnings,
    }


def _describe_gpu(nvml: Any, position: int, handle: Any) -> dict[str, Any]:
    capability = _ask(nvml, (), nvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = _ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle)
    mig = _ask(nvml, (0, 0), nvml.nvmlDeviceGetMigMode, handle)
    brand = _ask(nvml, nvml.NVML_BRAND_UNKNOWN, nvml.nvmlDeviceGetBrand, handle)
    return {
        "nvml_index": position,
        "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
        "minor": _ask(nvml, -1, nvml.nvmlDeviceGetMinorNumber, handle),
        "pci_bus_id": _text(nvml.nvmlDeviceGetPciInfo(handle).busId).lower(),
        "name": _text(_ask(nvml, "", nvml.nvmlDeviceGetName, handle)),
        "architecture": ".".join(str(number) for number in capability),
        "brand": _brands(nvml).get(brand, "unknown"),
        "memory_bytes": int(memory.total) if memory else 0,
        "mig_enabled": bool(mig[0]),
    }


def _ask(nvml: Any, fallback: Any, function: Any, *arguments: Any) -> Any:
    """A question that some drivers or GPUs do not answer."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return fallback


def _brands(nvml: Any) -> dict[int, str]:
    words = (
        "QUADRO", "TESLA", "NVS", "GRID", "GEFORCE", "TITAN", "NVIDIA_VAPPS", "NVIDIA_VPC",
        "NVIDIA_VCS", "NVIDIA_VWS", "NVIDIA_CLOUD_GAMING", "QUADRO_RTX", "NVIDIA_RTX", "NVIDIA",
        "GEFORCE_RTX", "TITAN_RTX",
    )  # fmt: skip
    found = {getattr(nvml, f"NVML_BRAND_{word}", None): word.lower() for word in words}
    return {number: word for number, word in found.items() if number is not None}


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
