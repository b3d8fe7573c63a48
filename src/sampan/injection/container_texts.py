"""Texts that the driver's libraries read in a container, computed for it. On the hook's start path."""

from collections.abc import Iterable

PARAMS = "/proc/driver/nvidia/params"
PROFILE_DIRECTORY = "/etc/nvidia/nvidia-application-profiles-rc.d"
PROFILE_NAME = "10-container.conf"
MASKED_MINORS = 64
"""The profile's mask has as many bits."""
_MODIFY = "ModifyDeviceFiles:"


def forbid_device_files(params: str) -> str:
    """PARAMS as a container is to see it; empty when the driver makes no nodes anyway.

    libnvidia-ml and libcuda make nodes of GPUs that they miss, unless ModifyDeviceFiles is 0 (field
    note nvidia-container-toolkit, section 4.7).
    """
    lines = params.splitlines()
    if not any(line.startswith(_MODIFY) and line[len(_MODIFY) :].strip() != "0" for line in lines):
        return ""
    text = "\n".join(f"{_MODIFY} 0" if line.startswith(_MODIFY) else line for line in lines)
    return f"{text}\n"


def mask_minors(minors: Iterable[int]) -> int:
    """The profile's bit mask of GPUs, by the minor numbers of their nodes."""
    mask = 0
    for minor in minors:
        if 0 <= minor < MASKED_MINORS:
            mask |= 1 << minor
    return mask


def render_profile(mask: int) -> str:
    """The application profile which tells EGL to list no other GPUs than those of the mask."""
    # The driver's own dialect of JSON, which has hexadecimal numbers.
    return (
        '{"profiles": [{"name": "_container_", "settings": ["EGLVisibleDGPUDevices",'
        f' {mask:#x}]}}], "rules": [{{"pattern": [], "profile": "_container_"}}]}}\n'
    )
