"""Device nodes that only a group may open, which rootless containers lose."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject
from sampan.model.inventory import DeviceNode

SYMPTOM = "Failed to initialize NVML: Insufficient Permissions (rootless podman, --userns=keep-id)"


def check(subject: Subject) -> Iterator[Finding]:
    """Nodes without rights for others, against the user's own groups."""
    host = subject.host
    inventory = host.inventory
    nodes = [*inventory.control_nodes, *(node for gpu in inventory.gpus for node in gpu.nodes)]
    closed = [node for node in nodes if node.mode & 0o006 != 0o006]
    if not closed:
        yield ok("node-groups", f"all of {len(nodes)} nodes are open to everybody")
        return
    if host.uid == 0:
        yield ok("node-groups", "root may open every node", _show(closed))
        return
    outside = [node for node in closed if node.gid not in host.groups and node.uid != host.uid]
    dri_only = all("/dri/" in node.path for node in outside)
    if outside:
        groups = sorted({node.gid for node in outside})
        names = [_group_name(host.read("/etc/group"), gid) for gid in groups]
        yield warning(
            "node-group-missing",
            "this user is not in the group of some nodes"
            + (": no rendering on /dev/dri" if dri_only else ""),
            _show(outside),
            symptom=SYMPTOM,
            remedy=f"sudo usermod -aG {','.join(names)} $USER, then log in anew",
        )
    podman = subject.engine("podman")
    inside = [node for node in closed if node not in outside]
    if inside and podman is not None and podman.rootless:
        yield warning(
            "node-group-lost",
            "rootless podman drops the groups through which this user may open nodes",
            _show(inside),
            symptom=SYMPTOM,
            remedy="podman run --group-add keep-groups ... (with crun); sampan run keeps them itself",
        )
    elif not outside:
        yield ok("node-groups", "this user is in the groups of all nodes", _show(closed))


def _show(nodes: list[DeviceNode]) -> str:
    return ", ".join(f"{node.path} mode {node.mode:04o} group {node.gid}" for node in nodes)


def _group_name(text: str, gid: int) -> str:
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(gid):
            return fields[0]
    return str(gid)
