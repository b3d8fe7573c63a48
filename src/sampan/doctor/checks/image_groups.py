"""Groups that a container is given for the nodes' sake and that its /etc/group does not name."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, info, ok
from sampan.doctor.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """CDI's additionalGids against the image's groups. Harmless, but people ask."""
    image, inventory = subject.image, subject.host.inventory
    assert image is not None
    nodes = [*inventory.control_nodes, *(node for gpu in inventory.gpus for node in gpu.nodes)]
    wanted = {node.gid for node in nodes if node.gid and node.mode & 0o006 != 0o006}
    lines = (line.split(":") for line in image.facts.group.splitlines())
    named = {fields[2] for fields in lines if len(fields) > 2}
    unnamed = sorted(gid for gid in wanted if str(gid) not in named)
    if not unnamed:
        yield ok("image-groups", f"{image.name} names every group that the nodes need")
        return
    first = unnamed[0]
    yield info(
        "image-group-unnamed",
        f"{image.name} has no name for group {', '.join(map(str, unnamed))}; this is harmless",
        "the driver's nodes belong to it, so containers are given it",
        symptom=f"groups: cannot find name for group ID {first}",
        remedy=f"RUN groupadd -g {first} gpu-nodes, if the message disturbs",
    )
