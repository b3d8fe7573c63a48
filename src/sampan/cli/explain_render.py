"""An import plan for people, in groups, and for programs, as JSON."""

import json
from collections.abc import Iterator

from sampan.cli.columns import format_columns
from sampan.engines.driver_import import DriverImport, name_devices
from sampan.model.inventory import Gpu
from sampan.model.plan import ImportPlan, Reason

GROUPS: dict[str, str] = {
    "library": "Libraries",
    "file": "Programs, descriptions, firmware",
    "socket": "Sockets and directories that can be written to",
    "link": "Links",
    "written": "Files that Sampan writes",
    "node": "Device nodes",
    "kernel": "Seen in /proc",
    "setting": "Variables and groups",
    "decision": "Decided",
}
"""Kind of an item to the heading it stands under, in the order of the table."""


def kinds_of(plan: ImportPlan) -> dict[str, str]:
    """The kind, a key of GROUPS, of each item that the plan names."""
    kinds = {file.path: "written" for file in plan.files}
    for mount in plan.mounts:
        name = mount.container_path.rpartition("/")[2]
        if "ro" not in mount.options:
            kinds[mount.container_path] = "socket"
        else:
            kinds[mount.container_path] = "library" if ".so" in name else "file"
    kinds.update((link.path, "link") for link in plan.links)
    kinds.update((device.path, "node") for device in plan.devices)
    kinds.update((f"env {name}", "setting") for name, _ in plan.environment)
    kinds.update((f"group {gid}", "setting") for gid in plan.additional_gids)
    return kinds


def render_table(outcome: DriverImport) -> str:
    """The plan in groups, then what was left out."""
    request, plan = outcome.request, outcome.plan
    if not request.driver and not outcome.cdi_devices:
        why = (
            f" ({request.source})"
            if request.source
            else ": no --gpus, no -e NVIDIA_VISIBLE_DEVICES"
        )
        return f"Nothing of the host's driver is imported{why}."
    lines = []
    if request.driver:
        words = ",".join(request.capabilities)
        lines.append(f"Asked for: {request.source}; capabilities {words}")
    lines += [f"CDI:       {name}" for name in outcome.cdi_devices]
    lines += [f"GPU:       {text}" for gpu in outcome.gpus for text in _describe(gpu)]
    kinds = kinds_of(plan)
    grouped: dict[str, list[Reason]] = {kind: [] for kind in GROUPS}
    for reason in plan.reasons:
        if reason.included:
            grouped[_kind(reason, kinds)].append(reason)
    for kind, heading in GROUPS.items():
        lines += _render_group(heading, grouped[kind])
    lines += _render_group("Left out:", [reason for reason in plan.reasons if not reason.included])
    return "\n".join(lines)


def _render_group(heading: str, reasons: list[Reason]) -> list[str]:
    if not reasons:
        return []
    rows = [(f"  {reason.item}", reason.why, reason.source) for reason in reasons]
    return ["", heading, format_columns(("  ITEM", "WHY", "FROM"), rows)]


def _kind(reason: Reason, kinds: dict[str, str]) -> str:
    if reason.item in kinds:
        return kinds[reason.item]
    return "kernel" if reason.item.startswith("/proc/") else "decision"


def _describe(gpu: Gpu) -> Iterator[str]:
    name = f"{gpu.nvml_index} = {gpu.name or 'GPU'} {gpu.uuid or gpu.pci_bus_id}".rstrip()
    if not gpu.mig_enabled:
        yield name
    for device in gpu.mig_devices:
        yield f"{gpu.nvml_index}:{device.position} = MIG {device.profile} {device.uuid} of {name}"


def render_json(outcome: DriverImport) -> str:
    """The plan as one JSON document; each reason carries the kind of its item."""
    plan = outcome.plan
    kinds = kinds_of(plan)
    document = {
        "request": outcome.request._asdict(),
        "gpus": list(name_devices(outcome.gpus)),
        "cdi_devices": outcome.cdi_devices,
        "mounts": [mount._asdict() for mount in plan.mounts],
        "devices": [device._asdict() for device in plan.devices],
        "links": [link._asdict() for link in plan.links],
        "files": [
            {"path": file.path, "bytes": len(file.content), "mode": file.mode, "mount": file.mount}
            for file in plan.files
        ],
        "environment": dict(plan.environment),
        "additional_gids": plan.additional_gids,
        "hooks": [hook._asdict() for hook in plan.hooks],
        "reasons": [
            {**reason._asdict(), "kind": _kind(reason, kinds) if reason.included else "left-out"}
            for reason in plan.reasons
        ],
        "warnings": plan.warnings,
    }
    return json.dumps(document, indent=2)
