"""What NVML says of the GPUs, asked of the driver root's own libnvidia-ml in a child process.

A child, because the library is the host driver's: it may crash on a broken driver, hang on a lost
GPU, or leave a thread behind, and our own process must enter new namespaces afterwards.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sampan.driver.mig import NvmlMig
from sampan.driver.nvml_errors import choose_remedy
from sampan.errors import SampanError
from sampan.kernel.isolated import IsolatedError, call_isolated
from sampan.model.inventory import DriverLibrary

TIMEOUT_S = 30.0
NVML_SONAME = "libnvidia-ml.so.1"
NO_ERROR = 0


class NvmlError(SampanError):
    """NVML could not be loaded or did not answer.

    Attributes:
        code: NVML's error number, see ``nvml_errors``; 0 when it did not come so far.
    """

    id = "nvml"

    def __init__(self, cause: str, *, evidence: str = "", code: int = NO_ERROR) -> None:
        super().__init__(cause, evidence=evidence, remedy=choose_remedy(code))
        self.code = code


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
    mig_devices: tuple[NvmlMig, ...] = ()


class NvmlFailure(NamedTuple):
    """A GPU, or with ``mig_position`` 0 and up one of its MIG devices, that NVML would not describe."""

    nvml_index: int
    mig_position: int
    code: int
    text: str


class NvmlAnswer(NamedTuple):
    """The driver and its GPUs; ``cuda_version`` e.g. ``13.0``."""

    driver_version: str
    cuda_version: str
    gpus: tuple[NvmlGpu, ...]
    failures: tuple[NvmlFailure, ...]


def find_nvml(libraries: Sequence[DriverLibrary]) -> str:
    """Host path of the libnvidia-ml among an inventory's libraries; empty when there is none."""
    for library in libraries:
        if library.soname == NVML_SONAME and library.bits == 64:
            return library.host_path
    return ""


def query_nvml(library: str, *, timeout_s: float = TIMEOUT_S) -> NvmlAnswer:
    """Ask the libnvidia-ml at host path ``library`` for its GPUs.

    Raises:
        NvmlError: with NVML's own words as evidence.
    """
    document = ask_nvml(library, _describe, timeout_s=timeout_s)
    gpus = []
    for gpu in document["gpus"]:
        gpu["mig_devices"] = tuple(NvmlMig(*mig) for mig in gpu["mig_devices"])
        gpus.append(NvmlGpu(**gpu))
    return NvmlAnswer(
        document["driver_version"],
        document["cuda_version"],
        tuple(gpus),
        tuple(NvmlFailure(*failure) for failure in document["failures"]),
    )


def ask_nvml(
    library: str, question: Callable[[Any], dict[str, Any]], *, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Run ``question`` with the binding in a child process; its answer must be JSON.

    Args:
        library: host path of the libnvidia-ml to ask.
        question: takes the module ``pynvml``, initialised; its NVMLError becomes ours.
        timeout_s: seconds after which the child is killed.

    Raises:
        NvmlError: with NVML's own words as evidence.
    """
    try:
        answer = call_isolated(lambda: _answer(library, question), timeout_s=timeout_s)
        document: dict[str, Any] = json.loads(answer)
    except IsolatedError as error:
        raise NvmlError(f"NVML of {library} gave no answer", evidence=error.evidence) from error
    except (OSError, ValueError) as error:
        raise NvmlError(f"NVML of {library} gave no answer", evidence=str(error)) from error
    if "error" in document:
        raise NvmlError(
            f"NVML of {library} cannot be used",
            evidence=document["error"],
            code=document["code"],
        )
    return document


def _answer(library: str, question: Callable[[Any], dict[str, Any]]) -> bytes:
    from sampan.kernel.shared_library import load_shared_library

    try:
        load_shared_library(library)
        import pynvml
    except (OSError, ImportError) as error:
        return json.dumps({"error": str(error), "code": NO_ERROR}).encode()
    try:
        pynvml.nvmlInit()
        document = question(pynvml)
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        document = {"error": _say(pynvml, error), "code": error.value}
    return json.dumps(document).encode()


def _describe(nvml: Any) -> dict[str, Any]:  # the binding has no types
    gpus = []
    failures: list[NvmlFailure] = []
    for position in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(position)
            gpus.append(_describe_gpu(nvml, position, handle, failures))
        except nvml.NVMLError as error:
            failures.append(NvmlFailure(position, -1, error.value, _say(nvml, error)))
    cuda = int(ask(nvml, 0, nvml.nvmlSystemGetCudaDriverVersion))
    return {
        "driver_version": _text(ask(nvml, "", nvml.nvmlSystemGetDriverVersion)),
        "cuda_version": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        "gpus": gpus,
        "failures": failures,
    }


def _describe_gpu(
    nvml: Any, position: int, handle: Any, failures: list[NvmlFailure]
) -> dict[str, Any]:
    capability = ask(nvml, (), nvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle)
    mig_enabled = bool(ask(nvml, (0, 0), nvml.nvmlDeviceGetMigMode, handle)[0])
    brand = ask(nvml, nvml.NVML_BRAND_UNKNOWN, nvml.nvmlDeviceGetBrand, handle)
    return {
        "nvml_index": position,
        "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
        "minor": ask(nvml, -1, nvml.nvmlDeviceGetMinorNumber, handle),
        "pci_bus_id": _text(nvml.nvmlDeviceGetPciInfo(handle).busId).lower(),
        "name": _text(ask(nvml, "", nvml.nvmlDeviceGetName, handle)),
        "architecture": ".".join(str(number) for number in capability),
        "brand": _brands(nvml).get(brand, "unknown"),
        "memory_bytes": int(memory.total) if memory else 0,
        "mig_enabled": mig_enabled,
        "mig_devices": _describe_mig(nvml, position, handle, failures) if mig_enabled else [],
    }


def _describe_mig(
    nvml: Any, position: int, gpu: Any, failures: list[NvmlFailure]
) -> list[tuple[object, ...]]:
    devices: list[tuple[object, ...]] = []
    for number, handle in list_mig_handles(nvml, gpu):
        try:
            memory = ask(nvml, None, nvml.nvmlDeviceGetMemoryInfo, handle)
            devices.append(
                (
                    number,
                    _text(nvml.nvmlDeviceGetUUID(handle)),
                    nvml.nvmlDeviceGetGpuInstanceId(handle),
                    nvml.nvmlDeviceGetComputeInstanceId(handle),
                    _describe_profile(nvml, handle),
                    int(memory.total) if memory else 0,
                )
            )
        except nvml.NVMLError as error:
            failures.append(NvmlFailure(position, number, error.value, _say(nvml, error)))
    return devices


def list_mig_handles(nvml: Any, gpu: Any) -> list[tuple[int, Any]]:
    """Position and handle of each MIG device; positions may have gaps."""
    handles = []
    for number in range(ask(nvml, 0, nvml.nvmlDeviceGetMaxMigDeviceCount, gpu)):
        handle = ask(nvml, None, nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, number)
        if handle is not None:
            handles.append((number, handle))
    return handles


def _describe_profile(nvml: Any, handle: Any) -> str:
    """``1g.10gb+me``: the end of the device's name, else made of its slices as nvidia-smi does."""
    name = _text(ask(nvml, "", nvml.nvmlDeviceGetName, handle))
    _, found, profile = name.rpartition(" MIG ")
    if found:
        return profile
    said = ask(nvml, None, nvml.nvmlDeviceGetAttributes, handle)
    if said is None or not said.gpuInstanceSliceCount:
        return ""
    whole = f"{said.gpuInstanceSliceCount}g.{(said.memorySizeMB + 512) // 1024}gb"
    part = said.computeInstanceSliceCount
    return whole if part == said.gpuInstanceSliceCount else f"{part}c.{whole}"


def ask(nvml: Any, fallback: Any, function: Any, *arguments: Any) -> Any:
    """A question that some drivers or GPUs do not answer."""
    try:
        return function(*arguments)
    except nvml.NVMLError:
        return fallback


def _say(nvml: Any, error: Any) -> str:
    """The driver's own words for an error; the binding has other ones for some, which nobody knows."""
    return _text(ask(nvml, str(error), nvml.nvmlErrorString, error.value))


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
