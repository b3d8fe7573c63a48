"""Whether a CDI document has every GPU and MIG device of this host: one made too early lacks some."""

from collections.abc import Iterator

from sampan.doctor.checks.cdi_documents import GENERATE, list_directories
from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.looks.documents import list_edits, load_documents
from sampan.doctor.subject import Subject

BOOT = "it was made before the driver was ready (boot), or before MIG was changed"


def check(subject: Subject) -> Iterator[Finding]:
    """Nodes of the document against nodes of the host; names do not matter."""
    host = subject.host
    inventory = host.inventory
    documents = [
        loaded
        for loaded in load_documents(host, list_directories(subject))
        if loaded.spec.kind == "nvidia.com/gpu"
    ]
    if not documents or not inventory.gpus:
        yield ok("cdi-complete", "no document of GPUs and no GPU to compare")
        return
    given = {
        node.host_path or node.path
        for loaded in documents
        for edits in list_edits(loaded)
        for node in edits.device_nodes
    }
    found = False
    paths = ", ".join(loaded.path for loaded in documents)
    for node in inventory.control_nodes:
        if node.path == "/dev/nvidia-uvm" and node.path not in given:
            found = True
            yield warning(
                "cdi-no-uvm", f"{paths} lacks /dev/nvidia-uvm: CUDA will not start in containers",
                BOOT, symptom="cuInit 999 (CUDA_ERROR_UNKNOWN)", remedy=GENERATE,
            )  # fmt: skip
    missing = []
    for gpu in inventory.gpus:
        names = {node.path for node in gpu.nodes if node.path.startswith("/dev/nvidia")}
        if not gpu.mig_enabled and names and not names & given:
            missing.append(f"GPU {gpu.nvml_index} ({', '.join(sorted(names))})")
        missing += [
            f"MIG device {gpu.nvml_index}:{mig.position}"
            for mig in gpu.mig_devices
            if mig.nodes and not all(node.path in given for node in mig.nodes)
        ]
    if missing:
        found = True
        yield warning(
            "cdi-incomplete", f"{paths} lacks {len(missing)} devices of this host",
            f"{', '.join(missing)}; {BOOT}", symptom="unresolvable CDI devices nvidia.com/gpu=...",
            remedy=f"{GENERATE}; sudo sampan cdi install-units keeps it true",
        )  # fmt: skip
    if not found:
        yield ok("cdi-complete", f"{paths} has all {len(inventory.gpus)} GPUs")
