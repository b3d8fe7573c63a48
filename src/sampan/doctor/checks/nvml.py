"""Whether NVML loads from where the driver import finds it, answers, and describes every GPU."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.subject import Subject
from sampan.driver.nvml import NVML_SONAME, NvmlAnswer, NvmlError, find_nvml
from sampan.driver.nvml_errors import (
    DRIVER_NOT_LOADED,
    LIB_RM_VERSION_MISMATCH,
    UNKNOWN,
    choose_remedy,
)

NOT_LOADED = "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file"
SYMPTOMS = {
    UNKNOWN: "Failed to initialize NVML: Unknown Error",
    LIB_RM_VERSION_MISMATCH: "Failed to initialize NVML: Driver/library version mismatch",
    DRIVER_NOT_LOADED: "Failed to initialize NVML: Driver Not Loaded",
}
INSTALL = "sudo apt-get install libnvidia-ml1    or: sudo ldconfig, if the library is installed"


def check(subject: Subject) -> Iterator[Finding]:
    """Ask NVML in a child process, with a time limit."""
    inventory = subject.host.inventory
    if inventory.platform == "none" and not inventory.module_version:
        yield ok("nvml", "no driver is loaded, so NVML is not asked")
        return
    library = find_nvml(inventory.libraries)
    if not library:
        yield broken(
            "nvml-absent",
            f"the driver has no {NVML_SONAME}",
            f"not in the loader cache's directories nor in {', '.join(inventory.searched) or 'any'}",
            symptom=NOT_LOADED,
            remedy=INSTALL,
        )
        return
    try:
        answer = subject.host.ask_nvml()
    except NvmlError as error:
        yield broken(
            "nvml-fails",
            error.cause,
            error.evidence,
            symptom=SYMPTOMS.get(error.code, NOT_LOADED if not error.code else ""),
            remedy=error.remedy or f"ldd {library} shows what it lacks; sudo dmesg | grep -i nvrm",
        )
        return
    if answer is not None:
        yield from _judge(answer, library)


def _judge(answer: NvmlAnswer, library: str) -> Iterator[Finding]:
    for failure in answer.failures:
        what = f"GPU {failure.nvml_index}"
        if failure.mig_position >= 0:
            what = f"MIG device {failure.nvml_index}:{failure.mig_position}"
        yield warning(
            "nvml-gpu-fails",
            f"NVML does not describe {what}",
            f"{failure.text} (error {failure.code})",
            remedy=choose_remedy(failure.code) or "sudo dmesg | grep -i -e nvrm -e xid",
        )
    if not answer.gpus:
        yield warning(
            "nvml-no-gpus",
            "NVML answers, but shows no GPU",
            library,
            symptom="No devices were found",
            remedy="sudo dmesg | grep -i nvrm; in a batch job ask the scheduler for a GPU",
        )
    elif not answer.failures:
        yield ok("nvml", f"NVML answers and describes {len(answer.gpus)} GPUs", library)
