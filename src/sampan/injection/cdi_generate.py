"""Makes CDI documents of an inventory: the plan of one container that has everything, cut up.

Libraries, files, sockets and control nodes are the document's own edits; what belongs to a GPU or
MIG device is that device's. The rules of what goes where are the plan's, so a document and
``sampan run`` import the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.injection.builder import PlanBuilder
from sampan.injection.cdi_devices import (
    CdiSelectionError,
    list_devices,
    nodes_edits,
    select_devices,
)
from sampan.injection.cdi_finish import finish_spec, without_gids
from sampan.injection.cdi_hooks import render_rest, spread_libraries
from sampan.injection.cdi_jobs import HookChoice, makes_loader_cache
from sampan.injection.cdi_resolve import merge_edits
from sampan.injection.extras import plan_extras
from sampan.injection.neutral import neutral_facts
from sampan.injection.nodes import DRI_CAPABILITIES
from sampan.injection.places import MULTIARCH
from sampan.injection.plan import plan_import
from sampan.model.cdi import CdiDevice, CdiEdits, CdiMount, CdiSpec
from sampan.model.facts import ImageFacts
from sampan.model.inventory import CAPABILITIES, DeviceNode, Extra, Inventory
from sampan.model.plan import ImportPlan
from sampan.model.request import Request

PLATFORM_MODES: dict[str, str] = {"discrete": "nvml", "wsl": "wsl", "tegra": "csv", "none": "nvml"}
PLATFORMS: dict[str, str] = {"csv": "a Tegra board", "wsl": "the Windows Subsystem for Linux"}
EXTRA_MODES: tuple[str, ...] = ("gdrcopy", "gds", "imex", "mofed", "nvswitch")
MODES: tuple[str, ...] = (
    "auto",
    "csv",
    *EXTRA_MODES[:3],
    "management",
    "mofed",
    "nvml",
    "nvswitch",
    "wsl",
)
LOADING: dict[str, str] = {
    "gdrcopy": "sudo modprobe gdrdrv",
    "gds": "sudo modprobe nvidia-fs",
    "imex": "echo options nvidia NVreg_CreateImexChannel0=1 | sudo tee /etc/modprobe.d/imex.conf"
    "    and reload the nvidia module",
    "mofed": "sudo modprobe -a ib_uverbs rdma_cm",
    "nvswitch": "sudo systemctl status nvidia-fabricmanager    if the machine has NVSwitches",
}
"""What makes the nodes of a mode appear."""
CLASSES: dict[str, str] = {"imex": "imex-channel"}
"""Class of a mode where it is not the mode's own name; all modes with GPUs have ``gpu``."""
MANAGEMENT_CAPABILITIES = ("compute", "ngx", "utility", "video")
MANAGEMENT_EXTRAS = ("fabric-imex-mgmt", "fabric-mgmt", "imex", "mig-config", "mig-monitor")
NO_GPU = CdiDevice("none", CdiEdits(env=("NVIDIA_VISIBLE_DEVICES=void",)))
"""A device has to edit something."""
UNTOUCHED_ENVIRONMENT = ("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")


class CdiNothingError(SampanError):
    """The host has nothing that a document of the mode would be about."""

    id = "cdi-nothing"


class CdiOptions(NamedTuple):
    """What kind of document is wanted.

    Attributes:
        mode: of MODES; ``auto`` by the platform.
        vendor, class_name: empty = the mode's.
        strategies: of ``cdi_devices.STRATEGIES``: how devices are named.
        devices: which: ``all``, ``none``, indexes, ``GPU:MIG``, UUIDs, PCI bus ids.
        with_all: whether a device ``all`` stands for them together.
        capabilities: what is imported with them.
        version: of the specification; empty = the lowest that fits.
        additional_gids: False = leave out the groups of nodes, which need 0.7.0.
        hook: the hook program.
        fingerprint: of the inventory; written as annotation where the version has them anyway.
    """

    mode: str = "auto"
    vendor: str = ""
    class_name: str = ""
    strategies: tuple[str, ...] = ("index", "uuid")
    devices: tuple[str, ...] = ("all",)
    with_all: bool = True
    capabilities: tuple[str, ...] = CAPABILITIES
    version: str = ""
    additional_gids: bool = True
    hook: HookChoice = HookChoice()
    fingerprint: str = ""


class GeneratedSpec(NamedTuple):
    """A valid document, and what should be known of it."""

    spec: CdiSpec
    notes: tuple[str, ...]


def generate_spec(inventory: Inventory, options: CdiOptions) -> GeneratedSpec:
    """The document of one mode.

    Args:
        inventory: of a host with a driver (``driver.absence.require_driver`` has passed).
        options: what is wanted.

    Raises:
        CdiNothingError: there is nothing of the mode's.
        CdiSelectionError: a wanted device is not there.
        CdiVersionError: the wanted version is too low, with the field that needs more.
        CdiDocumentError: vendor or class are no names of CDI.
    """
    mode = PLATFORM_MODES[inventory.platform] if options.mode == "auto" else options.mode
    notes: tuple[str, ...] = ()
    if mode in ("csv", "wsl") and mode != PLATFORM_MODES[inventory.platform]:
        raise CdiNothingError(
            f"mode {mode} describes {PLATFORMS[mode]}, and this host is none",
            evidence=f"its driver is of the kind {inventory.platform}",
            remedy="leave out --mode: it follows the host",
        )
    if mode in EXTRA_MODES:
        edits, devices = CdiEdits(), _extra_devices(inventory, mode, options)
    elif mode == "management":
        edits, devices, notes = _management(inventory, options)
    else:
        edits, devices, notes = _gpus(inventory, options)
    if not devices:
        raise CdiNothingError(
            "there is no device to describe",
            evidence=f"mode {mode}; the host has {len(inventory.gpus)} GPUs that can be used",
            remedy="sampan gpus    says why; --mode management describes the driver without GPUs",
        )
    vendor = options.vendor or ("management.nvidia.com" if mode == "management" else "nvidia.com")
    class_name = options.class_name or CLASSES.get(mode, mode if mode in EXTRA_MODES else "gpu")
    spec = CdiSpec("", f"{vendor}/{class_name}", devices, edits)
    if not options.additional_gids:
        spec = without_gids(spec)
    notes = tuple(dict.fromkeys((*inventory.warnings, *notes)))
    return GeneratedSpec(finish_spec(spec, options.version, options.fingerprint), notes)


def _gpus(
    inventory: Inventory, options: CdiOptions
) -> tuple[CdiEdits, tuple[CdiDevice, ...], tuple[str, ...]]:
    facts = facts_of_any_image(inventory, options.hook)
    gpus = tuple(gpu for gpu in inventory.gpus if gpu.mig_devices or not gpu.mig_enabled)
    plan = plan_import(inventory, _request(options.capabilities), facts, gpus)
    rest = render_rest(plan, inventory, options.hook)
    notes = (*_plan_notes(plan), *rest.notes)
    owned = {node.path for gpu in inventory.gpus for node in gpu.nodes}
    owned |= {
        node.path for gpu in inventory.gpus for part in gpu.mig_devices for node in part.nodes
    }
    shared = {device.path for device in plan.devices} - owned
    control = [node for node in inventory.control_nodes if node.path in shared]
    draws = any(word in options.capabilities for word in DRI_CAPABILITIES)
    listed = list_devices(gpus, options.strategies, draws=draws)
    base = CdiEdits(
        env=_environment(plan),
        mounts=mounts_of_any_image(plan, rest.mounts, inventory, facts, options.hook),
        hooks=rest.hooks,
    )
    if inventory.platform in ("wsl", "tegra") and not any(device.nodes for device in listed):
        # GPUs behind nodes that have no number: those are the device.
        names = ["all"] if inventory.platform == "wsl" else ["0", "all"]
        whole = nodes_edits(facts, control)
        unknown = [word for word in options.devices if word not in (*names, "none")]
        if unknown:
            raise CdiSelectionError(
                f"no device {', '.join(unknown)} on this host",
                evidence=f"its GPUs have no nodes of their own; there are {', '.join(names)}",
                remedy="leave out --device-id",
            )
        if options.devices == ("none",):
            return base, (NO_GPU,), notes
        return base, tuple(CdiDevice(name, whole) for name in names), notes
    base = merge_edits([base, nodes_edits(facts, control)])
    chosen = select_devices(listed, options.devices, inventory.gpus)
    devices = [
        CdiDevice(name, nodes_edits(facts, device.nodes, device.links))
        for device in chosen
        for name in device.names
    ]
    if options.devices == ("none",):
        devices.append(NO_GPU)
    elif options.with_all and chosen:
        nodes = [node for one in chosen for node in one.nodes]
        links = [link for one in chosen for link in one.links]
        devices.append(CdiDevice("all", nodes_edits(facts, nodes, tuple(dict.fromkeys(links)))))
    return base, tuple(devices), notes


def _management(
    inventory: Inventory, options: CdiOptions
) -> tuple[CdiEdits, tuple[CdiDevice, ...], tuple[str, ...]]:
    """Everything that administers GPUs, in one device: all nodes, no graphics, params as they are."""
    facts = facts_of_any_image(inventory, options.hook)
    capabilities = tuple(word for word in MANAGEMENT_CAPABILITIES if word in options.capabilities)
    plan = plan_import(inventory._replace(params=""), _request(capabilities), facts, ())
    rest = render_rest(plan, inventory, options.hook)
    nodes: list[DeviceNode] = list(inventory.control_nodes)
    for gpu in inventory.gpus:
        nodes += [node for node in gpu.nodes if not node.path.startswith("/dev/dri/")]
        nodes += [node for part in gpu.mig_devices for node in part.nodes]
    for extra in inventory.extras:
        if extra.kind in MANAGEMENT_EXTRAS:
            # The nodes of NVLink and its switches are the fabric manager's, as with nvidia-ctk.
            nodes += [node for node in extra.nodes if node.path != "/dev/nvidia-nvlink"]
    edits = CdiEdits(
        env=_environment(plan),
        mounts=mounts_of_any_image(plan, rest.mounts, inventory, facts, options.hook),
        hooks=rest.hooks,
    )
    devices = (CdiDevice("all", nodes_edits(facts, nodes)),) if nodes else ()
    return edits, devices, (*_plan_notes(plan), *rest.notes)


def _extra_devices(inventory: Inventory, mode: str, options: CdiOptions) -> tuple[CdiDevice, ...]:
    extra = next((found for found in inventory.extras if found.kind == mode), Extra(mode))
    if not extra.nodes:
        raise CdiNothingError(
            f"there is no {mode} device on this host",
            evidence="none of its nodes exists",
            remedy=LOADING[mode],
        )
    facts = neutral_facts(inventory)
    builder = PlanBuilder(facts)
    plan_extras(builder, inventory, _request(())._replace(extras=(mode,)))
    mounts = tuple(
        CdiMount(mount.host_path, mount.container_path, mount.options)
        for mount in builder.finish().mounts
    )
    devices = []
    if mode == "imex":
        devices = [
            CdiDevice(node.path.rpartition("/channel")[2], nodes_edits(facts, [node]))
            for node in extra.nodes
        ]
    if options.with_all or not devices:
        whole = nodes_edits(facts, extra.nodes)._replace(mounts=mounts)
        devices.append(CdiDevice("all", whole))
    return tuple(devices)


def _request(capabilities: Sequence[str]) -> Request:
    return Request(True, ("all",), None, tuple(sorted(capabilities)), "CDI")


def facts_of_any_image(inventory: Inventory, hook: HookChoice) -> ImageFacts:
    """With a loader cache libraries lie where the host has them, else where loaders look."""
    if makes_loader_cache(hook) or inventory.platform != "discrete":
        return neutral_facts(inventory)
    machine = next((found.machine for found in inventory.libraries if found.bits == 64), "x86_64")
    return neutral_facts(inventory, library_directory=f"/usr/lib/{MULTIARCH.get(machine, machine)}")


def mounts_of_any_image(
    plan: ImportPlan,
    further: Sequence[CdiMount],
    inventory: Inventory,
    facts: ImageFacts,
    hook: HookChoice,
) -> tuple[CdiMount, ...]:
    """A plan's mounts, and those that stand for its links, where the loaders of most images look."""
    # Runtimes refuse mounts over /proc; what needs one there is the hook's.
    mounts = [
        CdiMount(mount.host_path, mount.container_path, mount.options)
        for mount in plan.mounts
        if not mount.container_path.startswith("/proc/")
    ]
    mounts += further
    if makes_loader_cache(hook) or inventory.platform != "discrete":
        return tuple(mounts)
    return spread_libraries(mounts, inventory, facts.library_directories[0])


def _plan_notes(plan: ImportPlan) -> tuple[str, ...]:
    """Warnings of the plan, but for what it says of an image that nobody has seen."""
    return tuple(text for text in plan.warnings if not text.startswith("the image "))


def _environment(plan: ImportPlan) -> tuple[str, ...]:
    """``void`` keeps a second NVIDIA layer from doing it all again (field note, section 3.4)."""
    said = {name: value for name, value in plan.environment if name not in UNTOUCHED_ENVIRONMENT}
    cuda = dict.fromkeys(
        mount.container_path.rpartition("/")[0]
        for mount in plan.mounts
        if mount.container_path.rpartition("/")[2].startswith("libcuda.so.")
    )
    if cuda:
        said.setdefault("NVIDIA_CTK_LIBCUDA_DIR", ":".join(cuda))
    said["NVIDIA_VISIBLE_DEVICES"] = "void"
    return tuple(f"{name}={value}" for name, value in sorted(said.items()))
