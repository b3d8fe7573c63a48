"""Whether the image's forward-compatibility libcuda is used instead of the host's.

The rule is NVIDIA's toolkit's (field note nvidia-container-toolkit, 4.6) with one condition more:
forward compatibility is for data-centre GPUs; on others CUDA answers error 803 or 804.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sampan.model.facts import (
    COMPAT_DIRECTORY,
    ORIN_COMPAT_DIRECTORY,
    CudaCompat,
    ImageFacts,
)
from sampan.model.inventory import Gpu

DATA_CENTRE_BRANDS = frozenset({"tesla", "nvidia", "grid", "nvidia_vcs"})
OTHER_NAMES = ("geforce", "quadro", "titan", "rtx")
COMPAT_NAMES: tuple[str, ...] = (
    "libcuda.so.1", "libcudadebugger.so.1", "libnvidia-nvvm.so.4",
    "libnvidia-ptxjitcompiler.so.1",
)  # fmt: skip
"""What cuda-compat packages hold; the loader passes over names that a directory lacks."""


class CompatDecision(NamedTuple):
    """``use`` and the reason in one clause."""

    use: bool
    why: str


def decide_cuda_compat(
    compat: CudaCompat,
    *,
    driver_version: str,
    cuda_version: str,
    gpus: Sequence[Gpu],
    tegra: bool = False,
) -> CompatDecision:
    """Decide for one image and host.

    With a note: the host's branch is in it and the image's driver is newer; where a driver version
    cannot be read or the note names no branches, the image's CUDA is newer. Without one: the
    image's branch is newer. On Tegra, whose driver versions say nothing of CUDA's, the note's CUDA
    alone decides, as with the options that NVIDIA's toolkit gives its hook there.

    Args:
        compat: the image's.
        driver_version: the host's, e.g. ``535.261.03``; numbers may have leading zeros.
        cuda_version: the host driver's CUDA, e.g. ``12.2``; empty if unknown.
        gpus: those the container gets.
        tegra: whether the host is one.
    """
    unfit = [gpu for gpu in gpus if not is_data_centre(gpu)]
    if unfit:
        return CompatDecision(False, f"{unfit[0].name or 'the GPU'} is no data-centre GPU")
    ours = _numbers(compat.version)
    host = () if tegra else _numbers(driver_version)
    if not compat.note:
        if tegra:
            return CompatDecision(False, "the library has no note for this board")
        if not ours or not host:
            return CompatDecision(False, "a driver version is unknown and the library has no note")
        newer = ours[0] > host[0]
        relation = "newer than" if newer else "not newer than"
        return CompatDecision(
            newer, f"driver branch {ours[0]} of the image is {relation} the host's {host[0]}"
        )
    note = _parse_note(compat.note)
    if note is None:
        return CompatDecision(False, "the library's compatibility note cannot be read")
    branches, cuda = note
    if ours and host and branches:
        if host[0] not in branches:
            return CompatDecision(False, f"the library does not support host branch {host[0]}")
        newer = ours > host
        relation = "newer than" if newer else "not newer than"
        return CompatDecision(newer, f"{compat.version} is {relation} the host's {driver_version}")
    newer = bool(cuda) and bool(cuda_version) and _numbers(cuda) > _numbers(cuda_version)
    relation = "newer than" if newer else "not newer than"
    return CompatDecision(
        newer, f"CUDA {cuda or '?'} is {relation} the host's {cuda_version or '?'}"
    )


def choose_compat_directory(gpus: Sequence[Gpu], *, tegra: bool) -> str:
    """Where images keep the libraries for these GPUs: Jetson Orin has a package of its own."""
    orin = tegra and any("orin" in gpu.name.lower().split() for gpu in gpus)
    return ORIN_COMPAT_DIRECTORY if orin else COMPAT_DIRECTORY


def find_compat(facts: ImageFacts, directory: str) -> CudaCompat | None:
    """What the image has in such a directory; empty = the usual one. Nobody looked into others."""
    known = {COMPAT_DIRECTORY: facts.cuda_compat, ORIN_COMPAT_DIRECTORY: facts.cuda_compat_orin}
    return known.get(directory or COMPAT_DIRECTORY)


def is_data_centre(gpu: Gpu) -> bool:
    """By brand where NVML gave one, otherwise by product name."""
    if gpu.brand and gpu.brand != "unknown":
        return gpu.brand in DATA_CENTRE_BRANDS
    name = gpu.name.lower()
    return not any(word in name for word in OTHER_NAMES)


def _parse_note(text: str) -> tuple[frozenset[int], str] | None:
    # Few images have a note, and json costs milliseconds of each hook's start.
    import json

    try:
        note: Any = json.loads(text)
        if not isinstance(note["Driver"], list):
            return None
        branches = frozenset(int(str(branch).partition(".")[0]) for branch in note["Driver"])
        cuda = note.get("CUDA Version", "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return branches, str(cuda)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    if not all(part.isascii() and part.isdecimal() and len(part) <= 9 for part in parts):
        return ()
    return tuple(int(part) for part in parts)
