"""NVML's error numbers (nvml.h, nvmlReturn_t) and what helps against each."""

NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
UNKNOWN = 999

_REMEDIES: dict[int, str] = {
    NO_PERMISSION: (
        "ls -l /dev/nvidia* shows who may use the nodes; in a batch job or a container the device"
        " cgroup must allow them"
    ),
    DRIVER_NOT_LOADED: "sudo modprobe nvidia && sudo nvidia-modprobe -c=0 -u",
    FUNCTION_NOT_FOUND: "install libraries and kernel module of one driver release",
    GPU_IS_LOST: (
        "sudo dmesg | grep -i xid shows why it fell off the bus; reset it (sudo nvidia-smi -r) or"
        " reboot"
    ),
    RESET_REQUIRED: "sudo nvidia-smi -r, with nothing using the GPU",
    LIB_RM_VERSION_MISMATCH: (
        "reboot, or with nothing using the GPUs: sudo modprobe -r nvidia-drm nvidia-modeset"
        " nvidia-uvm nvidia && sudo modprobe nvidia"
    ),
    UNKNOWN: (
        "start the container, job or session anew: its device cgroup has changed since (systemctl"
        " daemon-reload does that); else sudo dmesg | grep -i nvrm"
    ),
}


def choose_remedy(code: int) -> str:
    """What to type or change after error ``code``; empty when NVML's own words must do."""
    return _REMEDIES.get(code, "")
