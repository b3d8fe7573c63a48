"""Device nodes of a plan: control nodes, GPUs, MIG devices, DRI nodes and what stands in /proc."""

from collections.abc import Sequence

from sampan.injection.builder import PlanBuilder
from sampan.injection.container_texts import PARAMS, forbid_device_files
from sampan.injection.files import asks
from sampan.model.inventory import Gpu, Inventory, MigDevice
from sampan.model.plan import PlannedFile

CONTROL_NODES: dict[str, tuple[str, ...]] = {
    "/dev/nvidia-uvm": ("compute", "graphics"),
    "/dev/nvidia-uvm-tools": ("compute", "graphics"),
    "/dev/nvidia-modeset": ("display",),
}
"""Who needs a control node; those not listed are for everybody."""
DRI_CAPABILITIES = ("graphics", "display", "video")
DRI_DIRECTORY = "/dev/dri/"


def plan_nodes(
    builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str], gpus: Sequence[Gpu]
) -> None:
    """Add the nodes of the driver and of the selected GPUs and MIG devices."""
    _plan_control_nodes(builder, inventory, wanted)
    chosen = {gpu.nvml_index: gpu for gpu in gpus}
    draws = asks(DRI_CAPABILITIES, wanted)
    for gpu in inventory.gpus:
        selected = chosen.get(gpu.nvml_index)
        if selected is None:
            why = "is in MIG mode" if gpu.mig_enabled else "is not selected"
            for node in gpu.nodes:
                builder.leave_out(node.path, f"{name_gpu(gpu)} {why}", node.host_path)
        else:
            _plan_gpu(builder, selected, draws=draws)
        _plan_mig_devices(builder, gpu, selected.mig_devices if selected else ())
    _plan_params(builder, inventory)


def name_gpu(gpu: Gpu) -> str:
    """A GPU in words, e.g. ``GPU 0, NVIDIA H200``."""
    return f"GPU {gpu.nvml_index}, {gpu.name or 'unnamed'}"


def _plan_control_nodes(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    present = {node.path for node in inventory.control_nodes}
    for node in inventory.control_nodes:
        needed_by = CONTROL_NODES.get(node.path, ())
        if asks(needed_by, wanted):
            builder.add_device(node, "control node of the driver")
        else:
            builder.leave_out(
                node.path, f"capability {' or '.join(needed_by)} is not asked for", node.host_path
            )
    if inventory.platform != "discrete":
        return
    if "compute" in wanted and "/dev/nvidia-uvm" not in present:
        builder.warn(
            "the host has no /dev/nvidia-uvm: CUDA will fail with error 999;"
            " sudo nvidia-modprobe -u -c=0 makes it"
        )
    if "display" in wanted and "/dev/nvidia-modeset" not in present:
        builder.leave_out(
            "/dev/nvidia-modeset", "the host does not have it: sudo nvidia-modprobe -m", "host"
        )


def _plan_gpu(builder: PlanBuilder, gpu: Gpu, *, draws: bool) -> None:
    name = name_gpu(gpu)
    parts = [device for device in gpu.mig_devices if device.draws]
    for node in gpu.nodes:
        if not node.path.startswith(DRI_DIRECTORY):
            why = f"{name}, parent of the MIG devices" if gpu.mig_enabled else name
            builder.add_device(node, why)
        elif not draws:
            builder.leave_out(node.path, "no capability that draws is asked for", node.host_path)
        elif gpu.mig_enabled and not parts:
            builder.leave_out(
                node.path, "no selected MIG device has graphics (+gfx)", node.host_path
            )
        else:
            builder.add_device(node, name)
    for link in gpu.links:
        target = DRI_DIRECTORY + link.target.rpartition("/")[2]
        if builder.has(target):
            builder.add_link(link.path, link.target, f"{name}, by its address")


def _plan_mig_devices(builder: PlanBuilder, gpu: Gpu, selected: Sequence[MigDevice]) -> None:
    positions = {device.position for device in selected}
    for device in gpu.mig_devices:
        name = f"MIG device {gpu.nvml_index}:{device.position}, {device.profile}"
        if device.position in positions:
            for node in device.nodes:
                builder.add_device(node, f"access to {name}")
            for path in device.access_files:
                builder.say(path, f"access to {name}; every container's /proc shows it", path)
    given = {path for device in selected for path in (node.path for node in device.nodes)}
    for device in gpu.mig_devices:
        for node in device.nodes:
            if device.position not in positions and node.path not in given:
                name = f"MIG device {gpu.nvml_index}:{device.position}"
                builder.leave_out(node.path, f"{name} is not selected", node.host_path)


def _plan_params(builder: PlanBuilder, inventory: Inventory) -> None:
    """Keep the driver's libraries from making nodes of GPUs that were not given (section 4.7)."""
    text = forbid_device_files(inventory.params)
    if not text:
        return
    builder.add_file(
        PlannedFile(PARAMS, text.encode(), 0o444, mount=True),
        "ModifyDeviceFiles is 0, so that no node of another GPU appears",
        PARAMS,
    )
