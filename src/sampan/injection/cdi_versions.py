"""Which CDI version a document needs: one predicate a version, newest first (CDI SPEC.md, versions).

An engine rejects a whole file that uses a field newer than the version it declares, and files that
declare a version it does not know. So the lowest version that fits is the one to write.
"""

from collections.abc import Callable, Iterator

from sampan.model.cdi import CdiEdits, CdiSpec

KNOWN: tuple[str, ...] = (
    "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
)  # fmt: skip
"""Versions a document may declare; 0.8.0 and 1.0.0 added no field."""
EARLIEST = "0.3.0"


def required_version(spec: CdiSpec) -> tuple[str, str]:
    """The lowest version whose fields suffice, and what needs it (empty for the earliest)."""
    for version, predicate in PREDICATES:
        what = predicate(spec)
        if what:
            return version, what
    return EARLIEST, ""


def version_key(version: str) -> tuple[int, ...]:
    """For comparing versions of KNOWN.

    Raises:
        ValueError: not a version.
    """
    return tuple(int(part) for part in version.removeprefix("v").split("."))


def _parts(spec: CdiSpec) -> Iterator[tuple[str, CdiEdits]]:
    yield "containerEdits", spec.edits
    for device in spec.devices:
        yield f"device {device.name}", device.edits


def _needs_1_1(spec: CdiSpec) -> str:
    for where, edits in _parts(spec):
        if edits.net_devices:
            return f"netDevices of {where}"
        if edits.intel_rdt and (edits.intel_rdt.schemata or edits.intel_rdt.enable_monitoring):
            return f"intelRdt.schemata or enableMonitoring of {where}"
    return ""


def _needs_0_7(spec: CdiSpec) -> str:
    for where, edits in _parts(spec):
        if edits.intel_rdt is not None:
            return f"intelRdt of {where}"
        if edits.additional_gids:
            return f"additionalGids of {where}"
    return ""


def _needs_0_6(spec: CdiSpec) -> str:
    if spec.annotations:
        return "annotations of the document"
    for device in spec.devices:
        if device.annotations:
            return f"annotations of device {device.name}"
    return "the dot in the class" if "." in spec.kind.partition("/")[2] else ""


def _needs_0_5(spec: CdiSpec) -> str:
    for device in spec.devices:
        if device.name and not (device.name[0].isascii() and device.name[0].isalpha()):
            return f"device name {device.name}, which does not begin with a letter"
    for where, edits in _parts(spec):
        for node in edits.device_nodes:
            if node.host_path:
                return f"hostPath of {node.path} of {where}"
    return ""


def _needs_0_4(spec: CdiSpec) -> str:
    for where, edits in _parts(spec):
        for mount in edits.mounts:
            if mount.kind:
                return f"type of the mount {mount.container_path} of {where}"
    return ""


PREDICATES: tuple[tuple[str, Callable[[CdiSpec], str]], ...] = (
    ("1.1.0", _needs_1_1),
    ("0.7.0", _needs_0_7),
    ("0.6.0", _needs_0_6),
    ("0.5.0", _needs_0_5),
    ("0.4.0", _needs_0_4),
)
