"""What an engine refuses a CDI document of the right form for (CDI SPEC.md; field note, 5.3)."""

from collections import Counter

from sampan.injection.cdi_names import annotation_problems, device_problem, kind_problem
from sampan.injection.cdi_versions import KNOWN, required_version, version_key
from sampan.model.cdi import CdiEdits, CdiSpec

STAGES = frozenset(
    {
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    }
)  # fmt: skip


def spec_problems(spec: CdiSpec) -> list[str]:
    """Everything that an engine would refuse a document of the right form for."""
    problems = []
    if spec.version.removeprefix("v") not in KNOWN:
        problems.append(f"cdiVersion {spec.version!r} is not one of {', '.join(KNOWN[2:])}")
    else:
        needed, what = required_version(spec)
        if version_key(spec.version) < version_key(needed):
            problems.append(f"cdiVersion {spec.version} is too low: {what} needs {needed}")
    if problem := kind_problem(spec.kind):
        problems.append(problem)
    problems += annotation_problems(spec.annotations)
    problems += _edits_problems(spec.edits, "containerEdits")
    if not spec.devices:
        problems.append("there is no device")
    seen: set[str] = set()
    for number, device in enumerate(spec.devices):
        where = f"device {device.name!r}" if device.name else f"devices[{number}]"
        if problem := device_problem(device.name):
            problems.append(problem)
        if device.name in seen:
            problems.append(f"{where} is there twice")
        seen.add(device.name)
        if device.edits == CdiEdits():
            problems.append(f"{where} edits nothing")
        problems += annotation_problems(device.annotations)
        problems += _edits_problems(device.edits, where)
    return problems


def _edits_problems(edits: CdiEdits, where: str) -> list[str]:
    problems = [
        f"env {word!r} of {where} is not NAME=VALUE" for word in edits.env if word.find("=") <= 0
    ]
    for node in edits.device_nodes:
        if not node.path:
            problems.append(f"a device node of {where} has no path")
        if node.kind not in ("", "b", "c", "u", "p"):
            problems.append(f"type {node.kind!r} of {node.path} of {where} is none of b, c, u, p")
        if min(node.major or 0, node.minor or 0) < 0:
            problems.append(f"{node.path} of {where} has a negative device number")
        if node.permissions != "none" and node.permissions.strip("rwm"):
            problems.append(
                f"permissions {node.permissions!r} of {node.path} of {where} are not letters of rwm"
            )
    problems += [
        f"a mount of {where} lacks hostPath or containerPath"
        for mount in edits.mounts
        if not mount.host_path or not mount.container_path
    ]
    for hook in edits.hooks:
        if hook.name not in STAGES:
            problems.append(f"hookName {hook.name!r} of {where} is no stage of a container")
        if not hook.path.startswith("/"):
            problems.append(f"path {hook.path!r} of a hook of {where} is not absolute")
        problems += [
            f"env {word!r} of a hook of {where} is not NAME=VALUE"
            for word in hook.env
            if word.find("=") <= 0
        ]
    problems += _network_problems(edits, where)
    rdt = edits.intel_rdt
    if rdt and rdt.clos_id != "/":
        name = rdt.clos_id
        if name in (".", "..") or "/" in name or "\n" in name or len(name) >= 4096:
            problems.append(f"closID of {where} is no file name")
    return problems


def _network_problems(edits: CdiEdits, where: str) -> list[str]:
    problems = []
    for names, word in (
        ([device.host_interface_name for device in edits.net_devices], "hostInterfaceName"),
        ([device.name for device in edits.net_devices], "name"),
    ):
        if "" in names:
            problems.append(f"a net device of {where} has no {word}")
        problems += [
            f"net devices of {where} share the {word} {name!r}"
            for name, times in sorted(Counter(names).items())
            if name and times > 1
        ]
    return problems
