"""Mounts of a private mount namespace, by what they are for. On the start path.

Each function is one or two mount(2) calls; the docstring gives the shell equivalent. ``OSError``
names the target. Which of them a container gets, and what to try when one fails, is decided in
``engines/native/rootfs.py``.
"""

import contextlib
import os
import signal

from sampan.kernel.libc import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    die_with_parent,
    mount,
    umount,
)
from sampan.kernel.loop import attach_loop


def keep_mounts_private() -> None:
    """``mount --make-rprivate /``: nothing we mount reaches the host."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def mount_proc(target: str = "/proc") -> None:
    """``mount -t proc proc TARGET`` of the pid namespace we are in."""
    mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def mount_tmpfs(target: str, options: str) -> None:
    """``mount -t tmpfs -o OPTIONS tmpfs TARGET``; nosuid is left out, for images need setuid."""
    mount("tmpfs", target, "tmpfs", MS_NODEV, options)


def bind(source: str, target: str, *, recursive: bool = True) -> None:
    """``mount --rbind SOURCE TARGET``."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))


def mount_squashfs(file_path: str, offset: int, length: int, target: str) -> None:
    """``mount -t squashfs -o ro,loop,offset=,sizelimit= FILE TARGET`` by the kernel (real root).

    Raises:
        OSError: no loop device, or this kernel cannot read the image (EINVAL).
    """
    device, path = attach_loop(file_path, offset, length)
    try:
        mount(path, target, "squashfs", MS_RDONLY | MS_NODEV)
    finally:
        os.close(device)


def mount_overlay(
    lower: str, upper: str, work: str, target: str, *, in_user_namespace: bool
) -> None:
    """``mount -t overlay -o lowerdir=…,upperdir=…,workdir=… overlay TARGET``.

    In a user namespace overlayfs keeps its marks in ``user.*`` attributes (Linux 5.11). The other
    options hold whatever defaults the distribution built in: without them an overlay would depend
    on the lower file system having stable inode numbers and file handles, which FUSE has not.
    """
    options = f"lowerdir={lower},upperdir={upper},workdir={work},index=off,xino=off,metacopy=off"
    if in_user_namespace:
        options = f"lowerdir={lower},upperdir={upper},workdir={work},index=off,xino=off,userxattr"
    mount("overlay", target, "overlay", MS_NODEV, options)


def mount_fuse(target: str, name: str) -> int:
    """Mount a FUSE file system that nobody serves yet; return its open device.

    We mount it ourselves and hand the device to the server as ``/dev/fd/N``, which libfuse 3
    understands. So there is no readiness to wait for: the kernel holds the first access back until
    the server answers, and fails it when the last holder of the device is gone. The device must
    be opened in the user namespace of the mount.

    Raises:
        OSError: no /dev/fuse, no right to it, or no right to mount.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        data = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        mount(name, target, "fuse.squashfuse_ll", MS_RDONLY | MS_NODEV, data)
    except OSError:
        os.close(device)
        raise
    return device


def start_fuse_server(program: str, options: str, file_path: str, device: int) -> int:
    """Start ``squashfuse_ll`` on the device of a FUSE mount; return its process id.

    It is our child, in a process group of its own (Ctrl-C is not for it), dies with us, and ends
    by itself when the file system is unmounted.

    Args:
        program: absolute path of squashfuse_ll.
        options: its ``-o`` text, e.g. ``offset=65536``.
        file_path: absolute path of the file.
        device: from ``mount_fuse``.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        die_with_parent(signal.SIGKILL)
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.set_inheritable(device, True)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        words = [program, "-f", "-o", options, file_path, f"/dev/fd/{device}"]
        os.execve(program, words, {"PATH": "/usr/bin:/bin"})  # noqa: S606 - an argument list
    finally:
        os._exit(127)


def detach(target: str) -> None:
    """``umount -l TARGET``; nothing happens when nothing is mounted there."""
    with contextlib.suppress(OSError):
        umount(target, MNT_DETACH)
