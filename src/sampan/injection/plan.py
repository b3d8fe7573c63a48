"""The driver import as a pure function: inventory, request and image facts give an ImportPlan.

Nothing here looks at a machine. The tables of what a capability needs are the inventory's; the
rules of where it goes, what masks what and what is refused are in this room (field note
nvidia-container-toolkit, sections 4.1 to 4.7).
"""

from collections.abc import Sequence

from sampan.injection.builder import FILE_OPTIONS, SOCKET_OPTIONS, PlanBuilder
from sampan.injection.libraries import plan_libraries
from sampan.injection.places import real_directory, require_suitable_image
from sampan.model.facts import ImageFacts
from sampan.model.inventory import DriverFile, Gpu, Inventory
from sampan.model.plan import ImportPlan, PlannedFile
from sampan.model.request import Request

IMPLIED: dict[str, str] = {"video": "compute", "display": "graphics"}
CONTROL_NODES: dict[str, tuple[str, ...]] = {
    "/dev/nvidia-uvm": ("compute", "graphics"),
    "/dev/nvidia-uvm-tools": ("compute", "graphics"),
    "/dev/nvidia-modeset": ("display",),
}
"""Who needs a control node; those not listed are for everybody."""
DRI_CAPABILITIES = ("graphics", "display", "video")


def plan_import(
    inventory: Inventory, request: Request, facts: ImageFacts, gpus: Sequence[Gpu]
) -> ImportPlan:
    """Plan what one container gets of the host's driver.

    Args:
        inventory: of a host with a driver (``driver.absence.require_driver`` has passed).
        request: what is wanted; with ``driver`` False the plan is empty.
        facts: of the image.
        gpus: those selected for the request; empty = driver files and control nodes only.

    Raises:
        ImageArchitectureError: the image is for another machine.
        LibcUnsupportedError: the image has no glibc.
        DriverLibraryMissingError: the host has no libcuda and compute is wanted.
    """
    if not request.driver:
        return ImportPlan()
    machine = next((lib.machine for lib in inventory.libraries if lib.bits == 64), "")
    require_suitable_image(facts, machine)
    wanted = tuple(dict.fromkeys((*request.capabilities, *_implied(request.capabilities))))
    builder = PlanBuilder(facts)
    for warning in inventory.warnings:
        builder.warn(warning)
    plan_libraries(builder, inventory, wanted, gpus)
    _plan_files(builder, inventory, wanted)
    _plan_sockets(builder, inventory, wanted)
    _plan_nodes(builder, inventory, wanted, gpus)
    _plan_params(builder, inventory)
    _plan_environment(builder, inventory, request, gpus)
    return builder.finish()


def _implied(capabilities: Sequence[str]) -> list[str]:
    return [IMPLIED[word] for word in capabilities if word in IMPLIED]


def _asks(capabilities: Sequence[str], wanted: Sequence[str]) -> bool:
    return not capabilities or any(word in wanted for word in capabilities)


def _plan_files(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    for kind, files in (
        ("program", inventory.binaries),
        ("configuration", inventory.configurations),
        ("firmware", inventory.firmware),
    ):
        for file in files:
            path = _container_path(builder.facts, file)
            if not _asks(file.capabilities, wanted):
                words = " or ".join(file.capabilities)
                builder.leave_out(path, f"capability {words} is not asked for", file.host_path)
                continue
            if kind != "firmware":
                builder.add_mount_point(path)
            why = f"capability {', '.join(w for w in file.capabilities if w in wanted)}; {kind}"
            builder.add_mount(
                file.host_path, path, FILE_OPTIONS, why if file.capabilities else kind
            )
    _plan_opencl(builder, inventory, wanted)


def _plan_opencl(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    """Drivers unpacked without a package often lack the ICD file, which is one line."""
    library = "libnvidia-opencl.so.1"
    path = f"{real_directory(builder.facts, '/etc/OpenCL/vendors')}/nvidia.icd"
    present = any(found.soname == library for found in inventory.libraries)
    if present and "compute" in wanted and not builder.has(path):
        builder.add_file(
            PlannedFile(path, f"{library}\n".encode(), 0o644),
            "capability compute; OpenCL finds the driver",
            "written by Sampan: the host has no nvidia.icd",
        )


def _plan_sockets(builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str]) -> None:
    for socket in inventory.sockets:
        path = _container_path(builder.facts, socket)
        words = " or ".join(socket.capabilities)
        if _asks(socket.capabilities, wanted):
            builder.add_mount(
                socket.host_path, path, SOCKET_OPTIONS, f"capability {words}; socket of a daemon"
            )
        else:
            builder.leave_out(path, f"capability {words} is not asked for", socket.host_path)


def _plan_nodes(
    builder: PlanBuilder, inventory: Inventory, wanted: Sequence[str], gpus: Sequence[Gpu]
) -> None:
    present = {node.path for node in inventory.control_nodes}
    for node in inventory.control_nodes:
        needed_by = CONTROL_NODES.get(node.path, ())
        if _asks(needed_by, wanted):
            builder.add_device(node, "control node of the driver")
        else:
            builder.leave_out(
                node.path, f"capability {' or '.join(needed_by)} is not asked for", node.host_path
            )
    if "compute" in wanted and "/dev/nvidia-uvm" not in present:
        builder.warn(
            "the host has no /dev/nvidia-uvm: CUDA will fail with error 999;"
            " sudo nvidia-modprobe -u -c=0 makes it"
        )
    chosen = {gpu.nvml_index for gpu in gpus}
    draws = _asks(DRI_CAPABILITIES, wanted)
    for gpu in inventory.gpus:
        name = f"GPU {gpu.nvml_index}, {gpu.name or 'unnamed'}"
        for node in gpu.nodes:
            drawing = node.path.startswith("/dev/dri/")
            if gpu.nvml_index not in chosen:
                why = f"{name} is in MIG mode" if gpu.mig_enabled else f"{name} is not selected"
                builder.leave_out(node.path, why, node.host_path)
            elif drawing and not draws:
                builder.leave_out(
                    node.path, "no capability that draws is asked for", node.host_path
                )
            else:
                builder.add_device(node, name)


def _plan_params(builder: PlanBuilder, inventory: Inventory) -> None:
    """Keep the driver's libraries from making nodes of GPUs that were not given (section 4.7)."""
    key = "ModifyDeviceFiles:"
    lines = inventory.params.splitlines()
    if not any(line.startswith(key) and line[len(key) :].strip() != "0" for line in lines):
        return
    text = "\n".join(f"{key} 0" if line.startswith(key) else line for line in lines)
    builder.add_file(
        PlannedFile("/proc/driver/nvidia/params", f"{text}\n".encode(), 0o444, mount=True),
        "ModifyDeviceFiles is 0, so that no node of another GPU appears",
        "/proc/driver/nvidia/params",
    )


def _plan_environment(
    builder: PlanBuilder, inventory: Inventory, request: Request, gpus: Sequence[Gpu]
) -> None:
    everything = len(gpus) == len(inventory.gpus)
    if not gpus:
        devices = "none"
    elif everything and request.devices == ("all",):
        devices = "all"
    else:
        devices = ",".join(str(gpu.nvml_index) for gpu in gpus)
    builder.set_environment(
        "NVIDIA_VISIBLE_DEVICES", devices, f"what the container was given ({request.source})"
    )
    builder.set_environment(
        "NVIDIA_DRIVER_CAPABILITIES", ",".join(request.capabilities), "what was imported"
    )


def _container_path(facts: ImageFacts, file: DriverFile) -> str:
    return f"{real_directory(facts, file.directory)}/{file.name}"
