"""The devices of a document: what they are called, which are wanted, which nodes they have."""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.injection.builder import PlanBuilder
from sampan.model.cdi import CdiDeviceNode, CdiEdits
from sampan.model.facts import ImageFacts
from sampan.model.inventory import DeviceNode, DriverLink, Gpu, MigDevice

STRATEGIES: tuple[str, ...] = ("index", "uuid", "type-index")
STATIC_MAJORS = frozenset({195, 226})
"""Of nvidia and drm. Others are given out when a module loads: a document that outlives a reboot
leaves them out, and the engine looks at the host's node."""


class CdiSelectionError(SampanError):
    """A device that a document was asked for is not on this host."""

    id = "cdi-selection"


class NamedDevice(NamedTuple):
    """One addressable device: its names by strategy, the words that mean it, its nodes."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    nodes: tuple[DeviceNode, ...]
    links: tuple[DriverLink, ...]


def list_devices(
    gpus: Sequence[Gpu], strategies: Sequence[str], *, draws: bool
) -> tuple[NamedDevice, ...]:
    """Whole GPUs and MIG devices, in the order of their numbers.

    A GPU in MIG mode is not addressable as a whole, as with nvidia-ctk. ``by-path`` links come along
    as ``links``.

    Args:
        gpus: of the inventory.
        strategies: of STRATEGIES, in the order in which names are to appear.
        draws: whether DRI nodes are wanted at all.
    """
    devices = []
    for gpu in gpus:
        index = str(gpu.nvml_index)
        if not gpu.mig_enabled:
            named = {"index": index, "uuid": gpu.uuid, "type-index": f"gpu{index}"}
            nodes = tuple(node for node in gpu.nodes if draws or not _drawing(node))
            words = (index, gpu.uuid, gpu.pci_bus_id)
            links = gpu.links if draws else ()
            devices.append(NamedDevice(_names(named, strategies), words, nodes, links))
            continue
        for part in gpu.mig_devices:
            pair = f"{index}:{part.position}"
            named = {"index": pair, "uuid": part.uuid, "type-index": f"mig{pair}"}
            nodes, links = _mig_nodes(gpu, part, draws=draws)
            devices.append(NamedDevice(_names(named, strategies), (pair, part.uuid), nodes, links))
    return tuple(devices)


def select_devices(
    devices: Sequence[NamedDevice], wanted: Sequence[str], gpus: Sequence[Gpu]
) -> list[NamedDevice]:
    """Those that the words mean: an index, ``GPU:MIG``, a UUID, a PCI bus id, ``all``, ``none``.

    Args:
        devices: from ``list_devices``.
        wanted: the words.
        gpus: of the inventory; a word may mean one in MIG mode.

    Raises:
        CdiSelectionError: a word means none of them.
    """
    if "all" in wanted:
        return list(devices)
    chosen: list[NamedDevice] = []
    for word in wanted:
        if word == "none":
            continue
        found = [
            device
            for device in devices
            if word.lower() in {known.lower() for known in (*device.words, *device.names) if known}
        ]
        if not found:
            for gpu in gpus:
                if gpu.mig_enabled and word.lower() in (str(gpu.nvml_index), gpu.uuid.lower()):
                    raise _refuse_whole(gpu, word)
            there = ", ".join(device.words[0] for device in devices)
            raise CdiSelectionError(
                f"no device {word} on this host",
                evidence=f"there are {there}" if there else "there is no GPU",
                remedy="sampan gpus    lists indexes and UUIDs",
            )
        chosen += [device for device in found if device not in chosen]
    return chosen


def _refuse_whole(gpu: Gpu, word: str) -> CdiSelectionError:
    parts = [f"{gpu.nvml_index}:{part.position}" for part in gpu.mig_devices]
    make = f"sudo nvidia-smi mig -i {gpu.nvml_index} -lgip    lists what can be made of it"
    return CdiSelectionError(
        f"GPU {word} is in MIG mode, and engines get its MIG devices instead",
        evidence=f"it has {', '.join(parts)}" if parts else "it has no MIG devices",
        remedy=f"--device-id {','.join(parts)}" if parts else make,
    )


def nodes_edits(
    facts: ImageFacts, nodes: Sequence[DeviceNode], links: Sequence[DriverLink] = ()
) -> CdiEdits:
    """Edits that give nodes, and the groups that may use them.

    A ``by-path`` link becomes a second node: a link would need a hook, one process for each GPU.
    """
    builder = PlanBuilder(facts)
    for node in nodes:
        builder.add_device(node, "")
    plan = builder.finish()
    by_path = {node.path: node for node in nodes}
    rendered = []
    for device in plan.devices:
        rendered.append(_render_node(by_path[device.path], device.path, device.permissions))
        rendered += [
            _render_node(by_path[device.path], link.path, device.permissions)
            for link in links
            if resolve_target(link.path, link.target) == device.path
        ]
    return CdiEdits(device_nodes=tuple(rendered), additional_gids=plan.additional_gids)


def resolve_target(path: str, target: str) -> str:
    """Where a link leads: its target from the directory of ``path``, dots taken away."""
    start = target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"
    parts: list[str] = []
    for part in start.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _render_node(node: DeviceNode, path: str, permissions: str) -> CdiDeviceNode:
    static = node.major in STATIC_MAJORS
    return CdiDeviceNode(
        path=path,
        host_path=node.host_path if node.host_path != path else "",
        major=node.major if static else None,
        minor=node.minor if static else None,
        file_mode=node.mode,
        permissions=permissions,
        uid=node.uid or None,
        gid=node.gid or None,
    )


def _names(named: dict[str, str], strategies: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(named[strategy] for strategy in strategies if named[strategy]))


def _drawing(node: DeviceNode) -> bool:
    return node.path.startswith("/dev/dri/")


def _mig_nodes(
    gpu: Gpu, part: MigDevice, *, draws: bool
) -> tuple[tuple[DeviceNode, ...], tuple[DriverLink, ...]]:
    drawing = draws and part.draws
    parent = tuple(node for node in gpu.nodes if drawing or not _drawing(node))
    return (*parent, *part.nodes), gpu.links if drawing else ()
