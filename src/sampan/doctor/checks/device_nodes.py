"""Whether the driver's device nodes exist and may be opened, and the modules behind them are loaded."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.subject import Subject
from sampan.model.inventory import Inventory

NO_UVM = (
    "cuInit failed with 999 (CUDA_ERROR_UNKNOWN); stat /dev/nvidia-uvm: no such file or directory"
)
MAKE = "sudo nvidia-modprobe -u -c=0"


def check(subject: Subject) -> Iterator[Finding]:
    """Look at the control nodes, each GPU's node, and /proc/modules."""
    host = subject.host
    inventory = host.inventory
    if inventory.platform in ("wsl", "tegra"):
        yield ok(
            "device-nodes",
            f"a {inventory.platform} machine has {len(inventory.control_nodes)} nodes",
        )
        return
    if not inventory.module_version:
        yield ok("device-nodes", "the kernel module is not loaded, so there are no nodes")
        return
    found = list(_judge(subject, inventory))
    yield from found
    if not found:
        count = len(inventory.control_nodes) + sum(len(gpu.nodes) for gpu in inventory.gpus)
        yield ok("device-nodes", f"{count} nodes exist and may be opened")


def _judge(subject: Subject, inventory: Inventory) -> Iterator[Finding]:
    host = subject.host
    present = {node.path for node in inventory.control_nodes}
    loaded = {line.split(" ")[0] for line in host.read("/proc/modules").splitlines()}
    if "/dev/nvidiactl" not in present:
        yield broken(
            "node-control-missing", "/dev/nvidiactl is missing", "the kernel module is loaded",
            symptom="nvidia-container-cli: initialization error: nvml error: driver not loaded",
            remedy=f"{MAKE}; to have it at boot: sudo systemctl enable --now nvidia-persistenced",
        )  # fmt: skip
    if "/dev/nvidia-uvm" not in present:
        state = "loaded" if "nvidia_uvm" in loaded else "not loaded"
        yield broken(
            "node-uvm-missing",
            "/dev/nvidia-uvm is missing: CUDA cannot start",
            f"module nvidia_uvm is {state}; it comes with the first CUDA program of root",
            symptom=NO_UVM,
            remedy=MAKE if state == "loaded" else f"sudo modprobe nvidia-uvm && {MAKE}",
        )
    for warned in inventory.warnings:
        # The inventory says these in full; others belong to other checks.
        if warned.startswith(("NVML of", "the loaded kernel module")):
            continue
        yield warning("driver-part-left-out", warned, "found while taking stock of the driver",
            remedy=MAKE if "node" in warned else "sampan driver --all shows what is taken",
        )  # fmt: skip
    nodes = [*inventory.control_nodes, *(node for gpu in inventory.gpus for node in gpu.nodes)]
    closed = [
        f"{node.path} (mode {node.mode:04o}, owner {node.uid}:{node.gid})"
        for node in nodes
        if "/dri/" not in node.path and not host.node_usable(node.host_path)
    ]
    if closed:
        yield broken(
            "node-closed", "this user may not open the driver's nodes", ", ".join(closed),
            symptom="Failed to initialize NVML: Insufficient Permissions",
            remedy="sudo usermod -aG GROUP $USER with the nodes' group, then log in anew; or in"
            " /etc/modprobe.d: options nvidia NVreg_DeviceFileMode=0666",
        )  # fmt: skip
