"""The container's own file systems in config.json: proc, dev, sys, shm, the user's mounts. Pure, but for what /dev has.

Rules: runtime-spec config.md and config-linux.md (default file systems), docker's masked and
read-only paths.
"""

import os
from typing import Any

from sampan.model.container import ContainerSpec, VolumeMount

MASKED_PATHS: tuple[str, ...] = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READ_ONLY_PATHS: tuple[str, ...] = (
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
)  # fmt: skip

_TMPFS_DEFAULTS = ("nosuid", "nodev", "noexec")


def plan_mounts(
    spec: ContainerSpec,
    volumes: tuple[str, ...],
    *,
    rootless: bool,
    tty_group: bool,
    cgroup: str,
    deep_read_only: bool,
) -> list[dict[str, Any]]:
    """``mounts`` of config.json, parents before children.

    Args:
        spec: the user's words.
        volumes: VOLUME of the image.
        rootless: in a user namespace, where sysfs can only be bound.
        tty_group: gid 5 exists in the container's id map.
        deep_read_only: the runtime can make a tree read-only with all that is mounted below it.
        cgroup: ``mount`` a cgroup file system, ``bind`` the one we see, ``none``.
    """
    # Below the host's /sys lie the user's own control groups: a container that could write there
    # would leave its limits, or freeze and kill the user's other processes.
    sealed = "rro" if deep_read_only else "ro"
    mounts = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
            "mode=0620", *(("gid=5",) if tty_group else ()),
        ),
    ]  # fmt: skip
    if rootless:
        mounts.append(_mount("/sys", "bind", "/sys", "rbind", "nosuid", "noexec", "nodev", sealed))
    else:
        mounts.append(_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"))
    if cgroup == "mount":
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"))  # fmt: skip
    elif cgroup == "bind":
        # A second cgroup2 mount costs 12 ms on hybrid hosts; the container sees our tree instead.
        mounts.append(_mount("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", "rbind", "nosuid", "noexec", "nodev", sealed))  # fmt: skip
    mounts += _plan_ipc(spec)
    own = [
        _plan_volume(mount, deep=deep_read_only) for mount in spec.mounts if mount.kind != "volume"
    ]
    taken = {mount["destination"] for mount in own}
    if spec.read_only:
        # Anonymous volumes stay writable below a read-only root, with the image's content in them.
        own += [
            _mount(path, "tmpfs", "tmpfs", "nosuid", "nodev", "mode=0755", "tmpcopyup")
            for path in anonymous_volumes(spec, volumes)
            if path not in taken
        ]
    return mounts + sorted(own, key=lambda mount: mount["destination"].rstrip("/").count("/"))


def anonymous_volumes(spec: ContainerSpec, volumes: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of VOLUME and of ``-v PATH``.

    Where the root is writable they need only exist: the container's writable layer serves them as
    it is, since it lives as long as a volume without a name would.
    """
    asked = [mount.target for mount in spec.mounts if mount.kind == "volume"]
    declared = [f"/{path.strip('/')}" for path in volumes if path.strip("/")]
    return tuple(dict.fromkeys([*asked, *declared]))


def _plan_ipc(spec: ContainerSpec) -> list[dict[str, Any]]:
    if spec.ipc == "host":
        return [
            _mount(path, "bind", path, "rbind", "nosuid", "noexec", "nodev")
            for path in ("/dev/shm", "/dev/mqueue")
            if os.path.isdir(path)  # without systemd nobody mounts the queues
        ]
    mounts = [_mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")]
    if spec.ipc != "none":
        # Without a size the kernel takes half of the memory: what data loaders of GPU work need.
        size = () if spec.shm_bytes is None else (f"size={spec.shm_bytes}",)
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", *size))  # fmt: skip
    return mounts


def _plan_volume(mount: VolumeMount, *, deep: bool) -> dict[str, Any]:
    if mount.kind == "tmpfs":
        return _mount(mount.target, "tmpfs", "tmpfs", *(mount.options or _TMPFS_DEFAULTS))
    # As docker since 25: who asks for read-only means what is mounted below, too. Nothing is below
    # a file, and crun 1.8 opens every such target as a directory.
    deep = deep and {"ro", "rbind"} <= set(mount.options) and os.path.isdir(mount.source)
    below = ("rro",) if deep else ()
    return _mount(mount.target, "bind", mount.source, *mount.options, *below)


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
