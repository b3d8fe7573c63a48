"""The driver import as a pure function: inventory, request and image facts give an ImportPlan.

Nothing here looks at a machine. The tables of what a capability needs are the inventory's; the
rules of where it goes, what masks what and what is refused are in this room (field note
nvidia-container-toolkit, sections 4.1 to 4.7).
"""

from collections.abc import Sequence

from sampan.injection.builder import PlanBuilder
from sampan.injection.extras import plan_extras
from sampan.injection.files import plan_files
from sampan.injection.libraries import plan_libraries
from sampan.injection.nodes import plan_nodes
from sampan.injection.places import require_suitable_image
from sampan.model.facts import ImageFacts
from sampan.model.inventory import Gpu, Inventory
from sampan.model.plan import ImportPlan
from sampan.model.request import Request

IMPLIED: dict[str, str] = {"video": "compute", "display": "graphics"}


def plan_import(
    inventory: Inventory, request: Request, facts: ImageFacts, gpus: Sequence[Gpu]
) -> ImportPlan:
    """Plan what one container gets of the host's driver.

    Args:
        inventory: of a host with a driver (``driver.absence.require_driver`` has passed).
        request: what is wanted; with ``driver`` False the plan is empty.
        facts: of the image.
        gpus: those selected for the request, each with its selected MIG devices alone; empty =
            driver files and control nodes only.

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
    plan_files(builder, inventory, wanted, gpus)
    plan_nodes(builder, inventory, wanted, gpus)
    plan_extras(builder, inventory, request)
    _plan_environment(builder, inventory, request, gpus)
    return builder.finish()


def _implied(capabilities: Sequence[str]) -> list[str]:
    return [IMPLIED[word] for word in capabilities if word in IMPLIED]


def _plan_environment(
    builder: PlanBuilder, inventory: Inventory, request: Request, gpus: Sequence[Gpu]
) -> None:
    everything = tuple(gpus) == inventory.gpus
    if not gpus:
        devices = "none"
    elif everything and request.devices == ("all",):
        devices = "all"
    else:
        devices = ",".join(name for gpu in gpus for name in _names(gpu))
    builder.set_environment(
        "NVIDIA_VISIBLE_DEVICES", devices, f"what the container was given ({request.source})"
    )
    builder.set_environment(
        "NVIDIA_DRIVER_CAPABILITIES", ",".join(request.capabilities), "what was imported"
    )


def _names(gpu: Gpu) -> list[str]:
    if not gpu.mig_enabled:
        return [str(gpu.nvml_index)]
    return [device.uuid or f"{gpu.nvml_index}:{device.position}" for device in gpu.mig_devices]
