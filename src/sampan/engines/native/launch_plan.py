"""A launch as a value, and the seam between the launcher and the program that pid 1 becomes."""

import os
from collections.abc import Callable
from typing import NamedTuple

from sampan.engines.native.rootfs import RootfsPlan
from sampan.engines.native.runtime import Runtime
from sampan.kernel.cgroups import CgroupPlan
from sampan.kernel.userns import IdMaps


class Launch(NamedTuple):
    """All that is decided before the first process is made.

    Attributes:
        config: config.json, as bytes.
        command: the container's program; ``search`` is its PATH, ``directory`` where it starts.
        mounted: container paths on which config.json mounts something.
        mount_point: an empty host directory; pid 1 mounts its tmpfs on it, and it is the bundle.
        network: ``host``, ``none`` or ``private``: the latter two mean a new network namespace.
        id_maps: None = real root, no user namespace.
        newuidmap, newgidmap: absolute paths; used when the maps have ranges.
        stop_timeout_s: seconds from the terminal's end to the container's.
        shadow_cgroups: the host is hybrid and the runtime must see the v2 tree alone.
    """

    container_id: str
    command: str
    search: str
    directory: str
    mounted: tuple[str, ...]
    config: bytes
    rootfs: RootfsPlan
    runtime: Runtime
    runtime_options: tuple[str, ...]
    mount_point: str
    crun_root: str
    network: str = "host"
    id_maps: IdMaps | None = None
    newuidmap: str = ""
    newgidmap: str = ""
    cgroup: CgroupPlan = CgroupPlan()
    shadow_cgroups: bool = False
    terminal: bool = False
    interactive: bool = False
    stop_timeout_s: int = 10


class Inside(NamedTuple):
    """What the program that pid 1 becomes must know; paths are those of pid 1's mount namespace.

    Attributes:
        runtime: absolute path of crun or runc; ``runtime_options`` are its global options, to
            stand before the subcommand.
        log: path for the runtime's ``--log``; the supervisor reads it afterwards. It is an
            inherited descriptor, so a program in between must pass that on.
        bundle: directory of config.json. ``crun_root`` is the value of --root.
        terminal, interactive: as the user asked with -t and -i.
    """

    container_id: str
    runtime: str
    runtime_options: tuple[str, ...]
    log: str
    bundle: str
    crun_root: str
    terminal: bool
    interactive: bool


Program = Callable[[Inside], list[str]]
"""Gives the argument list that pid 1 execs (its first word is an absolute path).

It is called in pid 1, after every mount, and may prepare descriptors, signal masks and environment:
what it leaves open and inheritable, the program gets. The signals of ``launch.FORWARDED`` are
blocked at that moment, so that none is lost; who does not block them itself must unblock them.
"""


def crun_in_foreground(inside: Inside) -> list[str]:
    """Become ``crun run``: terminal, signals and exit code are then the container's own."""
    if inside.terminal and not inside.interactive:
        _take_silent_terminal()
    return [
        inside.runtime,
        *inside.runtime_options,
        "--log",
        inside.log,
        "run",
        "--bundle",
        inside.bundle,
        inside.container_id,
    ]


def _take_silent_terminal() -> None:
    """Make standard input a terminal on which nobody types: -t without -i.

    crun copies the container's terminal from and to a terminal of its own and cannot do without.
    Ours stays as it is, so that Ctrl-C is a signal, which crun passes on.
    """
    import fcntl
    import termios

    master, slave = os.openpty()
    try:
        size = fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        size = b""
    if size:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    os.dup2(slave, 0)
    # Held open by the runtime itself: with its last holder gone, the terminal would hang up.
    os.set_inheritable(master, True)
