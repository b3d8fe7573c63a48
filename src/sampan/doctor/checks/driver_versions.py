"""Whether kernel module and user-space libraries are of one release."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok
from sampan.doctor.subject import Subject
from sampan.driver.nvml import NvmlError
from sampan.driver.nvml_errors import LIB_RM_VERSION_MISMATCH, choose_remedy

SYMPTOM = "Failed to initialize NVML: Driver/library version mismatch"


def check(subject: Subject) -> Iterator[Finding]:
    """Compare /proc/driver/nvidia/version, libcuda's file name, and what NVML says."""
    inventory = subject.host.inventory
    module, libraries = inventory.module_version, inventory.driver_version
    if not module or not libraries:
        yield ok("driver-versions", "there are no two versions to compare")
        return
    if module != libraries:
        yield broken(
            "driver-version-mismatch",
            "the kernel module and the driver's libraries are of different releases",
            f"/proc/driver/nvidia/version says {module}, the libraries are {libraries}"
            " (an update while the module was loaded?)",
            symptom=SYMPTOM,
            remedy=choose_remedy(LIB_RM_VERSION_MISMATCH),
        )
        return
    try:
        answer = subject.host.ask_nvml()
    except NvmlError as error:
        if error.code == LIB_RM_VERSION_MISMATCH:
            yield broken(
                "driver-version-mismatch", error.cause, error.evidence,
                symptom=SYMPTOM, remedy=error.remedy,
            )  # fmt: skip
            return
        answer = None
    if answer and answer.driver_version not in ("", module):
        yield broken(
            "driver-version-mismatch",
            "NVML speaks of another driver than the loaded one",
            f"NVML: {answer.driver_version}, module: {module}",
            symptom=SYMPTOM,
            remedy=choose_remedy(LIB_RM_VERSION_MISMATCH),
        )
        return
    yield ok("driver-versions", f"kernel module and libraries are both {module}")
