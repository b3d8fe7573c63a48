"""Control groups: where a container's limits and device rules can be put on this host.

Rules: the kernel's admin-guide/cgroup-v1 and cgroup-v2. Three layouts exist: ``unified`` (v2),
``hybrid`` (v1 controllers beside an empty v2 tree) and ``legacy`` (v1). A plan is made before the
container's processes exist, entered by pid 1 itself, and removed by whoever outlives it. Where the
OCI runtime manages the group, the plan only names its directory. On the start path.
"""

import errno
import os
from typing import NamedTuple

CGROUP_ROOT = "/sys/fs/cgroup"
_PERIOD_US = 100_000
_REMOVAL_ATTEMPTS = 200


class Limits(NamedTuple):
    """What --memory, --cpus and --pids-limit ask for; None = no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers that these limits need."""
        wanted = (("memory", self.memory_bytes), ("cpu", self.cpus), ("pids", self.pids))
        return tuple(name for name, value in wanted if value is not None)


class CgroupPlan(NamedTuple):
    """What to make, write and enter, in this order.

    Attributes:
        directories: to be made, and removed afterwards.
        settings: (file, text) to write once they exist.
        entries: files that take ``0`` from the process that enters.
        unmet: controllers asked for that this host cannot give us.
        runtime_path: when not empty, the OCI runtime makes and manages this group
            (``linux.cgroupsPath``) and nothing else here is set but ``directories``.
    """

    directories: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    entries: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    runtime_path: str = ""


def runtime_directories(path: str, layout: str, root: str = CGROUP_ROOT) -> tuple[str, ...]:
    """Where the OCI runtime makes the group ``path``: once, or in each v1 hierarchy."""
    if layout == "unified":
        return (f"{root}{path}",)
    try:
        hierarchies = [entry.path for entry in os.scandir(root) if entry.is_dir()]
    except OSError:
        hierarchies = []
    return tuple(f"{one}{path}" for one in sorted(hierarchies))


def find_layout(root: str = CGROUP_ROOT) -> str:
    """``unified``, ``hybrid``, ``legacy`` or ``none``."""
    if os.path.exists(f"{root}/cgroup.controllers"):
        return "unified"
    if os.path.exists(f"{root}/unified/cgroup.procs"):
        return "hybrid"
    return "legacy" if os.path.isdir(f"{root}/devices") else "none"


def parse_membership(text: str) -> dict[str, str]:
    """Read /proc/self/cgroup: controller (``""`` for v2) → path."""
    membership = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            membership[controller] = path
    return membership


def plan_legacy(
    name: str,
    membership: dict[str, str],
    limits: Limits,
    device_rules: tuple[str, ...] | None,
    root: str = CGROUP_ROOT,
) -> CgroupPlan:
    """Groups below our own in each v1 hierarchy that a limit or the device rules need.

    Args:
        name: of the group, unique.
        membership: of this process, so that the limits of a batch job keep holding.
        limits: what is asked for.
        device_rules: lines for devices.allow; None = no device rules at all.
        root: where the hierarchies are mounted.
    """
    wanted = [*limits.controllers, *(["devices"] if device_rules is not None else [])]
    directories: list[str] = []
    settings: list[tuple[str, str]] = []
    unmet = []
    for controller in wanted:
        own = f"{root}/{controller}{membership.get(controller, '/').rstrip('/')}"
        # Inside a container the path may be the host's, which is not mounted here.
        parent = own if os.path.isdir(own) else f"{root}/{controller}"
        if not os.access(parent, os.W_OK):
            unmet.append(controller)
            continue
        directory = f"{parent}/sampan-{name}"
        directories.append(directory)
        settings += _legacy_settings(controller, directory, limits, device_rules or ())
    return CgroupPlan(
        tuple(directories),
        tuple(settings),
        # A single-threaded process may move itself by `tasks` without the system-wide lock that
        # `cgroup.procs` takes: 0.3 ms instead of 15.
        tuple(f"{directory}/tasks" for directory in directories),
        tuple(unmet),
    )


def plan_unified(
    name: str, membership: dict[str, str], limits: Limits, root: str = CGROUP_ROOT
) -> CgroupPlan:
    """A v2 group for the limits below the nearest group above us that we may write to.

    A group with processes cannot hand controllers on, so our own is not it; systemd delegates the
    tree of ``user@UID.service``, in which a ``systemd-run --user --scope`` has such a parent.
    """
    if not limits.controllers:
        return CgroupPlan()
    path = membership.get("", "/")
    while path not in ("", "/"):
        path = path.rpartition("/")[0]
        parent = f"{root}{path}"
        handed_on = _read_words(f"{parent}/cgroup.subtree_control")
        if os.access(f"{parent}/cgroup.procs", os.W_OK) and set(limits.controllers) <= handed_on:
            directory = f"{parent}/sampan-{name}"
            return CgroupPlan(
                (directory,),
                tuple(_unified_settings(directory, limits)),
                (f"{directory}/cgroup.procs",),
            )
    return CgroupPlan(unmet=limits.controllers)


def make_groups(plan: CgroupPlan) -> tuple[str, ...]:
    """Make the plan's directories and write its settings; return the settings that failed.

    Raises:
        OSError: a directory cannot be made.
    """
    if plan.runtime_path:
        return ()
    failed = []
    for directory in plan.directories:
        os.mkdir(directory)
    for path, text in plan.settings:
        try:
            _write(path, text)
        except OSError as error:
            # Memory and swap together are limited only where the kernel accounts for swap.
            if not path.endswith(("memsw.limit_in_bytes", "swap.max")):
                failed.append(f"{path}: {error.strerror}")
    return tuple(failed)


def enter_groups(plan: CgroupPlan) -> None:
    """Move this (single-threaded) process, and so its future children, into the plan's groups."""
    for path in plan.entries:
        _write(path, "0")


def remove_groups(directories: tuple[str, ...]) -> None:
    """Remove groups whose processes are dead or dying; what is gone already is no error."""
    import time

    for directory in [nested for one in directories for nested in _nested(one)]:
        for _ in range(_REMOVAL_ATTEMPTS):
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    break
                # Killed processes leave the group as they are reaped; no event tells of it in v1.
                time.sleep(0.005)
            else:
                break


def _nested(directory: str) -> list[str]:
    """The group and those below it, which runtimes and containers make, deepest first."""
    found = [directory]
    for one in found:
        try:
            found += [
                entry.path for entry in os.scandir(one) if entry.is_dir(follow_symlinks=False)
            ]
        except OSError:
            continue
    return found[::-1]


def _legacy_settings(
    controller: str, directory: str, limits: Limits, device_rules: tuple[str, ...]
) -> list[tuple[str, str]]:
    if controller == "memory":
        return [
            (f"{directory}/memory.limit_in_bytes", str(limits.memory_bytes)),
            (f"{directory}/memory.memsw.limit_in_bytes", str(2 * (limits.memory_bytes or 0))),
        ]
    if controller == "cpu":
        return [
            (f"{directory}/cpu.cfs_period_us", str(_PERIOD_US)),
            (f"{directory}/cpu.cfs_quota_us", str(int((limits.cpus or 0) * _PERIOD_US))),
        ]
    if controller == "pids":
        return [(f"{directory}/pids.max", str(limits.pids))]
    rules = [(f"{directory}/devices.allow", rule) for rule in device_rules]
    return [(f"{directory}/devices.deny", "a"), *rules]


def _unified_settings(directory: str, limits: Limits) -> list[tuple[str, str]]:
    settings = []
    if limits.memory_bytes is not None:
        settings.append((f"{directory}/memory.max", str(limits.memory_bytes)))
        settings.append((f"{directory}/memory.swap.max", str(limits.memory_bytes)))
    if limits.cpus is not None:
        settings.append((f"{directory}/cpu.max", f"{int(limits.cpus * _PERIOD_US)} {_PERIOD_US}"))
    if limits.pids is not None:
        settings.append((f"{directory}/pids.max", str(limits.pids)))
    return settings


def _read_words(path: str) -> set[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            return set(stream.read().split())
    except OSError:
        return set()


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
