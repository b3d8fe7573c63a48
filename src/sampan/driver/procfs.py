"""What the kernel module says below ``/proc/driver/nvidia``: version, parameters, GPUs."""

import os
from typing import NamedTuple

MAXIMUM_BYTES = 64 * 1024


class GpuInformation(NamedTuple):
    """One ``gpus/<bus>/information`` file; minor is -1 and texts are empty when not said.

    ``excluded``: the administrator keeps it from use (NVreg_ExcludedGpus of the module).
    """

    pci_bus_id: str
    name: str
    uuid: str
    minor: int
    excluded: bool = False


def read_text(path: str) -> str:
    """A small text file; empty when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, MAXIMUM_BYTES).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def read_whole_text(path: str, maximum: int = 1 << 20) -> str:
    """A table of procfs, which gives a page or so at a time; empty when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    content = b""
    try:
        while len(content) < maximum and (chunk := os.read(descriptor, MAXIMUM_BYTES)):
            content += chunk
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return content.decode(errors="replace")


def read_module_version(proc_root: str) -> str:
    """Version of the loaded kernel module, e.g. ``580.159.04``; empty when none is loaded."""
    for line in read_text(f"{proc_root}/driver/nvidia/version").splitlines():
        if not line.startswith("NVRM version:"):
            continue
        for word in line.split():
            if is_driver_version(word):
                return word
    return ""


def read_params(proc_root: str) -> str:
    """Content of ``/proc/driver/nvidia/params``; empty when the module is not loaded."""
    return read_text(f"{proc_root}/driver/nvidia/params")


def list_gpu_information(proc_root: str) -> list[GpuInformation]:
    """What the module says of each GPU, in the order of bus addresses, which is NVML's."""
    directory = f"{proc_root}/driver/nvidia/gpus"
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [
        _parse_information(name, read_text(f"{directory}/{name}/information")) for name in names
    ]


def _parse_information(directory: str, text: str) -> GpuInformation:
    said: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        said[key.strip()] = value.strip()
    minor = said.get("Device Minor", "")
    uuid = said.get("GPU UUID", "")
    return GpuInformation(
        said.get("Bus Location") or directory,
        said.get("Model", ""),
        # Before the GPU's first use the module shows question marks.
        uuid if uuid.startswith("GPU-") and "?" not in uuid else "",
        int(minor) if minor.isdecimal() else -1,
        said.get("GPU Excluded", "").lower() == "yes",
    )


def is_driver_version(text: str) -> bool:
    """Whether ``text`` has the form of a driver version: at least two numbers, the first big."""
    numbers = text.split(".")
    return (
        2 <= len(numbers) <= 3
        and all(number.isascii() and number.isdecimal() for number in numbers)
        and len(numbers[0]) >= 3
    )
