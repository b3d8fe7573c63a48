"""Mounts of this process's namespace, from ``/proc/self/mountinfo`` (proc_pid_mountinfo(5))."""

from typing import NamedTuple

from sampan.doctor.host import Host


class Mount(NamedTuple):
    """One line: where, with which options (of the mount and of the file system), and what kind."""

    point: str
    options: frozenset[str]
    kind: str


def list_mounts(host: Host) -> list[Mount]:
    """All mounts, later ones on top of earlier ones."""
    return parse_mounts(host.read("/proc/self/mountinfo"))


def parse_mounts(text: str) -> list[Mount]:
    """The lines that have the right form."""
    found = []
    for line in text.splitlines():
        first, separator, second = line.partition(" - ")
        fields, rest = first.split(), second.split()
        if separator and len(fields) >= 6 and len(rest) >= 3:
            point = fields[4].replace("\\040", " ")
            options = frozenset((*fields[5].split(","), *rest[2].split(",")))
            found.append(Mount(point, options, rest[0]))
    return found


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that a path lies on."""
    best: Mount | None = None
    for mount in mounts:
        inside = mount.point == "/" or path == mount.point or path.startswith(f"{mount.point}/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best
