"""GPUs in MIG mode: whether they have devices, and whether engines can be asked for them."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.looks.documents import load_documents
from sampan.doctor.subject import Subject
from sampan.model.inventory import Gpu

SYMPTOM = "No devices were found (docker run --gpus all nvidia-smi, GPU in MIG mode)"


def check(subject: Subject) -> Iterator[Finding]:
    """The state that NVML gives, against what the CDI documents name."""
    gpus = [gpu for gpu in subject.host.inventory.gpus if gpu.mig_enabled]
    if not gpus:
        yield ok("mig", "no GPU is in MIG mode")
        return
    found = [_explain_empty(gpu) for gpu in gpus if not gpu.mig_devices]
    docker = subject.engine("docker")
    if docker is not None and any(gpu.mig_devices for gpu in gpus):
        names = {
            device.name
            for loaded in load_documents(subject.host, docker.cdi_directories)
            for device in loaded.spec.devices
        }
        first = next(gpu for gpu in gpus if gpu.mig_devices)
        wanted = {first.mig_devices[0].uuid, f"{first.nvml_index}:{first.mig_devices[0].position}"}
        if not names & wanted:
            found.append(
                warning(
                    "mig-docker",
                    "docker cannot be asked for MIG devices: no CDI document that it reads names them",
                    f"{first.mig_devices[0].uuid}; documents name: {', '.join(sorted(names)) or 'none'}",
                    symptom=SYMPTOM,
                    remedy="sudo sampan cdi generate --output /var/run/cdi/nvidia.yaml, then docker"
                    f" run --device nvidia.com/gpu={first.nvml_index}:{first.mig_devices[0].position}",
                )
            )
    yield from found
    if not found:
        count = sum(len(gpu.mig_devices) for gpu in gpus)
        yield ok("mig", f"{len(gpus)} GPUs in MIG mode with {count} MIG devices")


def _explain_empty(gpu: Gpu) -> Finding:
    return warning(
        "mig-no-devices",
        f"GPU {gpu.nvml_index} is in MIG mode but has no MIG device: nothing can use it",
        gpu.uuid,
        symptom="No MIG devices found",
        remedy=f"sudo nvidia-smi mig -i {gpu.nvml_index} -cgi 19 -C, or turn the mode off:"
        f" sudo nvidia-smi -i {gpu.nvml_index} -mig 0",
    )
