"""What this host and this user can do, looked at once before a launch. On the start path."""

import os
from typing import NamedTuple

from sampan.engines.native.capabilities import NAMES, number_of
from sampan.kernel import cgroups, libc, userns
from sampan.kernel.programs import find_executable


class Host(NamedTuple):
    """Rights and layout of this host.

    Attributes:
        rootful: root of the initial user namespace with CAP_SYS_ADMIN.
        capabilities: names in our bounding set (all, in a user namespace of our own making).
        may_raise_limits: CAP_SYS_RESOURCE.
        cgroup_layout: see ``cgroups.find_layout``. ``cgroup_membership`` of this process.
        linux: (major, minor) of the kernel.
    """

    rootful: bool
    capabilities: frozenset[str]
    may_raise_limits: bool
    cgroup_layout: str
    cgroup_membership: dict[str, str]
    linux: tuple[int, int]


def look_at_host() -> Host:
    """Look."""
    root = os.geteuid() == 0 and userns.is_initial_namespace(_read("/proc/self/uid_map"))
    rootful = root and libc.in_bounding_set(number_of("SYS_ADMIN"))
    return Host(
        rootful=rootful,
        capabilities=frozenset(
            name for number, name in enumerate(NAMES) if libc.in_bounding_set(number)
        ),
        may_raise_limits=root and libc.in_bounding_set(number_of("SYS_RESOURCE")),
        cgroup_layout=cgroups.find_layout(),
        cgroup_membership=cgroups.parse_membership(_read("/proc/self/cgroup")),
        linux=_parse_release(os.uname().release),
    )


def plan_user_namespace() -> tuple[userns.IdMaps, str, str]:
    """The id maps for a container of this user, and the programs that write them."""
    uid, gid = os.geteuid(), os.getegid()
    subuid, subgid = _read("/etc/subuid"), _read("/etc/subgid")
    newuidmap = newgidmap = login = ""
    if subuid and subgid:
        newuidmap, newgidmap = find_executable("newuidmap"), find_executable("newgidmap")
        login = _login(uid)
    maps = userns.plan_id_maps(
        uid, gid, login, subuid, subgid, helpers=bool(newuidmap and newgidmap)
    )
    return maps, newuidmap, newgidmap


def _login(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _parse_release(release: str) -> tuple[int, int]:
    numbers = release.partition("-")[0].split(".")
    try:
        return int(numbers[0]), int(numbers[1])
    except (ValueError, IndexError):
        return 0, 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
