"""Whether ``/dev/char`` links the driver's nodes, which runc and systemd look at for device rules."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject

SYMPTOM = "Failed to initialize NVML: Unknown Error"


def check(subject: Subject) -> Iterator[Finding]:
    """The links matter where systemd makes the containers' cgroups (runc 1.1.3 to 1.1.6)."""
    host = subject.host
    inventory = host.inventory
    if inventory.platform != "discrete" or not inventory.control_nodes:
        yield ok("char-links", "no node of a discrete GPU needs a link in /dev/char")
        return
    nodes = [*inventory.control_nodes, *(node for gpu in inventory.gpus for node in gpu.nodes)]
    missing = [
        f"/dev/char/{node.major}:{node.minor} -> {node.path}"
        for node in nodes
        if not host.link_target(f"/dev/char/{node.major}:{node.minor}")
    ]
    systemd = [one.kind for one in subject.engines if one.cgroup_driver == "systemd"]
    if not missing:
        yield ok("char-links", f"/dev/char has a link for each of {len(nodes)} nodes")
    elif not systemd:
        yield ok(
            "char-links", "/dev/char lacks links, but no engine here leaves cgroups to systemd",
            ", ".join(missing),
        )  # fmt: skip
    else:
        yield warning(
            "char-links-missing",
            "/dev/char lacks links to the driver's nodes; systemd may drop them from a container's rules",
            f"{', '.join(missing)}; cgroup driver systemd: {', '.join(systemd)}",
            symptom=SYMPTOM,
            remedy="sudo nvidia-ctk system create-dev-char-symlinks --create-all",
        )
