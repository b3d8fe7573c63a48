"""Giving files and nodes to a container whose root file system is being made: mounts, mknod, cgroup v1.

For a ``prestart`` hook alone: the container's first process has its mount namespace and has not yet
entered its root (runtime-spec, config.md). All names are resolved inside the root by descriptors.
"""

import errno
import os
import stat

from sampan.kernel.libc import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    RESOLVE_NO_SYMLINKS,
    mount,
    openat2,
)
from sampan.kernel.root_handle import ONE_STEP, RootHandle

FLAGS: dict[str, int] = {
    "ro": MS_RDONLY, "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC,
}  # fmt: skip
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def mount_tmpfs(root: RootHandle, path: str, options: list[str]) -> RootHandle:
    """Mount a tmpfs on a directory of the container, which is made where it misses; its root.

    Raises:
        OSError: a directory cannot be made, or this process may not mount.
    """
    place = root.make_directory(path)
    try:
        data = ",".join(word for word in options if "=" in word)
        mount("tmpfs", f"/proc/self/fd/{place}", "tmpfs", _flags(options), data)
        laid = root.open(path, _DIRECTORY)
        try:
            if os.fstat(laid).st_dev == os.fstat(place).st_dev:
                raise OSError(errno.EBUSY, "the file system that was mounted is not seen", path)
            return RootHandle(f"/proc/self/fd/{laid}")
        finally:
            os.close(laid)
    finally:
        os.close(place)


def bind_file(root: RootHandle, path: str, source: str, options: list[str]) -> None:
    """Bind-mount a file or directory of the host to a path of the container, which is made.

    Raises:
        OSError: as ``mount_tmpfs``.
    """
    if os.path.isdir(source):
        target = root.make_directory(path)
    else:
        parent = root.make_directory(path.rpartition("/")[0] or "/")
        try:
            name = path.rpartition("/")[2]
            flags = os.O_WRONLY | os.O_CREAT
            os.close(openat2(parent, name, flags, resolve=ONE_STEP, mode=0o444))
            target = openat2(parent, name, os.O_PATH | os.O_NOFOLLOW, resolve=ONE_STEP)
        finally:
            os.close(parent)
    try:
        mount(source, f"/proc/self/fd/{target}", "", MS_BIND | MS_REC)
    finally:
        os.close(target)
    laid = root.open(path, os.O_PATH)
    try:
        mount("", f"/proc/self/fd/{laid}", "", MS_REMOUNT | MS_BIND | _flags(options))
    finally:
        os.close(laid)


def make_node(root: RootHandle, path: str, major: int, minor: int, mode: int) -> None:
    """Make a character device below the container's ``/dev``; one that is there is left.

    The process's umask takes its bits off the mode.

    Raises:
        OSError: the node cannot be made.
    """
    devices = root.open("/dev", _DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
    try:
        if os.fstat(devices).st_dev == os.stat("/dev").st_dev:
            # The host's nodes are there already.
            return
        here = os.dup(devices)
        *directories, name = path.removeprefix("/dev/").split("/")
        for directory in directories:
            try:
                if not _exists(here, directory):
                    os.mkdir(directory, 0o755, dir_fd=here)
                inner = openat2(here, directory, _DIRECTORY, resolve=ONE_STEP)
            finally:
                os.close(here)
            here = inner
        try:
            if not _exists(here, name):
                os.mknod(name, stat.S_IFCHR | mode, os.makedev(major, minor), dir_fd=here)
        finally:
            os.close(here)
    finally:
        os.close(devices)


def allow_devices(pid: int, rules: list[str]) -> None:
    """Add lines such as ``c 195:0 rwm`` to the device cgroup (v1) of a process.

    Raises:
        FileNotFoundError: the process has no device cgroup of v1.
        OSError: the file cannot be written.
    """
    with open(f"/proc/{pid}/cgroup") as stream:
        lines = [line.rstrip("\n").split(":", 2) for line in stream]
    places = [path for _, controllers, path in lines if "devices" in controllers.split(",")]
    if not places:
        raise FileNotFoundError(2, "there is no device cgroup of v1", f"/proc/{pid}/cgroup")
    for rule in rules:
        with open(f"/sys/fs/cgroup/devices{places[0]}/devices.allow", "w") as stream:
            stream.write(rule)


def _flags(options: list[str]) -> int:
    flags = 0
    for word in options:
        flags |= FLAGS.get(word, 0)
    return flags


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
