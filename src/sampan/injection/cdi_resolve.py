"""From qualified names and loaded documents to one set of edits (CDI ``pkg/cdi``; field note, 5.3).

A name that two documents of the same directory define is a conflict, and nobody gets it; a later
directory's device hides an earlier one's. The edits of a document count once, before those of its
devices, in the order in which the names ask for them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.injection.cdi_names import split_qualified
from sampan.model.cdi import CdiDevice, CdiDeviceNode, CdiEdits, CdiMount, CdiSpec


class UnresolvableDeviceError(SampanError):
    """A qualified name that no valid document defines, or that two define."""

    id = "cdi-unresolvable"


class LoadedSpec(NamedTuple):
    """A valid document and where it came from; a higher ``priority`` (directory) counts more."""

    path: str
    priority: int
    spec: CdiSpec


class CdiDevices(NamedTuple):
    """What the documents define together.

    Attributes:
        found: by qualified name, sorted: the document and the device that count.
        conflicts: by qualified name: the paths of documents of one directory that all define it.
    """

    found: dict[str, tuple[LoadedSpec, CdiDevice]]
    conflicts: dict[str, tuple[str, ...]]


def collect_devices(specs: Sequence[LoadedSpec]) -> CdiDevices:
    """Every qualified name of the documents, hidden ones and conflicts told apart."""
    claims: dict[str, list[tuple[LoadedSpec, CdiDevice]]] = {}
    for loaded in specs:
        for device in loaded.spec.devices:
            claims.setdefault(f"{loaded.spec.kind}={device.name}", []).append((loaded, device))
    found: dict[str, tuple[LoadedSpec, CdiDevice]] = {}
    conflicts: dict[str, tuple[str, ...]] = {}
    for name in sorted(claims):
        highest = max(loaded.priority for loaded, _ in claims[name])
        best = [claim for claim in claims[name] if claim[0].priority == highest]
        if len(best) == 1:
            found[name] = best[0]
        else:
            conflicts[name] = tuple(sorted(loaded.path for loaded, _ in best))
    return CdiDevices(found, conflicts)


def resolve_devices(names: Sequence[str], specs: Sequence[LoadedSpec]) -> CdiEdits:
    """The edits that the named devices stand for, merged.

    Raises:
        CdiNameError: a word is not fully qualified.
        UnresolvableDeviceError: with all names that are not defined, or defined twice.
    """
    devices = collect_devices(specs)
    missing = []
    edits: list[CdiEdits] = []
    counted: set[str] = set()
    for name in dict.fromkeys(names):
        split_qualified(name)
        if name not in devices.found:
            missing.append(name)
            continue
        loaded, device = devices.found[name]
        if loaded.path not in counted:
            counted.add(loaded.path)
            edits.append(loaded.spec.edits)
        edits.append(device.edits)
    if missing:
        raise _unresolvable(missing, devices, specs)
    return merge_edits(edits)


def merge_edits(parts: Sequence[CdiEdits]) -> CdiEdits:
    """Edits applied one after the other: what has the same path is replaced, hooks add up.

    Mounts come out sorted by depth, so that a parent is mounted before what lies in it.
    """
    nodes: dict[str, CdiDeviceNode] = {}
    mounts: dict[str, CdiMount] = {}
    for part in parts:
        for node in part.device_nodes:
            nodes.pop(node.path, None)
            nodes[node.path] = node
        for mount in part.mounts:
            mounts.pop(mount.container_path, None)
            mounts[mount.container_path] = mount
    intel = [part.intel_rdt for part in parts if part.intel_rdt is not None]
    return CdiEdits(
        env=tuple(dict.fromkeys(word for part in parts for word in part.env)),
        device_nodes=tuple(nodes.values()),
        net_devices=tuple(dict.fromkeys(one for part in parts for one in part.net_devices)),
        mounts=tuple(sorted(mounts.values(), key=lambda mount: _depth(mount.container_path))),
        hooks=tuple(dict.fromkeys(hook for part in parts for hook in part.hooks)),
        additional_gids=tuple(
            dict.fromkeys(gid for part in parts for gid in part.additional_gids if gid)
        ),
        intel_rdt=intel[-1] if intel else None,
    )


def _depth(path: str) -> int:
    return sum(part not in ("", ".") for part in path.split("/"))


def _unresolvable(
    missing: Sequence[str], devices: CdiDevices, specs: Sequence[LoadedSpec]
) -> UnresolvableDeviceError:
    name = missing[0]
    if name in devices.conflicts:
        return UnresolvableDeviceError(
            f"the CDI device {name} is defined more than once",
            evidence=", ".join(devices.conflicts[name]),
            remedy=f"remove one of the files: rm {devices.conflicts[name][-1]}",
        )
    kind = name.partition("=")[0]
    same = [word.partition("=")[2] for word in devices.found if word.startswith(f"{kind}=")]
    if same:
        evidence = f"{kind} has {', '.join(same)}"
    elif specs:
        kinds = sorted({loaded.spec.kind for loaded in specs})
        evidence = f"no file defines {kind}; there are {', '.join(kinds)}"
    else:
        evidence = "there is no valid file in the CDI directories"
    ours = kind.startswith("nvidia.com/")
    return UnresolvableDeviceError(
        f"no CDI device {', '.join(missing)}",
        evidence=evidence,
        remedy="sudo sampan cdi generate --output /var/run/cdi/nvidia.yaml"
        if ours and not same
        else "sampan cdi list",
    )
