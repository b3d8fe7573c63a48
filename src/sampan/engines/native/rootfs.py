"""The container's root directory: the image's squashfs below, an empty writable layer above.

Runs in pid 1, in the private mount namespace, below the directory that carries its tmpfs (the
current directory). The FUSE server is the supervisor's child, not pid 1's: crun waits for every
child that it has, and would wait for the server for ever. How the image is mounted was decided beforehand as an ordered list of ways;
the first that works is taken. Unpacking, the last resort, is done outside (``unpack.py``).
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from sampan.engines.native.device_links import DEVICES, write_device_links
from sampan.engines.native.upper import UpperLayer
from sampan.errors import SampanError
from sampan.kernel import mounts
from sampan.kernel.inroot import resolve_in_root
from sampan.model.plan import PlannedFile, PlannedLink

LOWER = "lower"
ROOTFS = "rootfs"
FILES = "files"
_KERNEL_TREES = ("proc", "sys", "dev")


class RootfsError(SampanError):
    """The image cannot be mounted here."""

    id = "rootfs"


class RootfsPlan(NamedTuple):
    """How the root directory is put together.

    Attributes:
        image_path: the SIF, whose squashfs lies at ``offset`` with ``length`` bytes.
        ways: of ``kernel``, ``fuse`` and ``unpacked``, in the order to try.
        fuse_program: absolute path of squashfuse_ll; empty when not installed.
        fuse_options: further ``-o`` options of it.
        unpacked: directory with the unpacked image; empty when there is none.
        upper_directory: host directory for the writable layer; empty = in memory.
        in_user_namespace: of an ordinary user.
        links, files, directories: what the writable layer begins with. Of ``files`` those with
            ``mount`` are laid down beside it as ``files/<position>``, for config.json to bind;
            of ``links`` those below /dev as ``files/dev/...``.
        directory_owner: uid, gid of the directories that are made.
        copied: where the runtime lays a tmpfs that begins with what it finds there.
    """

    image_path: str
    offset: int
    length: int
    ways: tuple[str, ...]
    fuse_program: str = ""
    fuse_options: tuple[str, ...] = ()
    unpacked: str = ""
    upper_directory: str = ""
    in_user_namespace: bool = False
    links: tuple[PlannedLink, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    directories: tuple[str, ...] = ()
    directory_owner: tuple[int, int] = (0, 0)
    copied: tuple[str, ...] = ()


def build_rootfs(plan: RootfsPlan, serve: Callable[[int], None]) -> None:
    """Mount image and overlay so that ``./rootfs`` is the container's root directory.

    Args:
        plan: what to mount and how.
        serve: has a FUSE server started for an open FUSE device.

    Raises:
        RootfsError: no way to mount the image works, or overlayfs refuses.
    """
    for name in (LOWER, ROOTFS, FILES):
        os.mkdir(name, 0o755)
    upper, work = _make_writable_layer(plan.upper_directory)
    _mount_image(plan, serve)
    for path in plan.copied:
        _refuse_kernel_trees(path)
    with UpperLayer(LOWER, upper) as layer:
        for directory in plan.directories:
            layer.make_directory(directory, *plan.directory_owner)
        for link in plan.links:
            if not link.path.startswith(DEVICES):
                layer.write_link(link)
        for position, file in enumerate(plan.files):
            if file.mount:
                _write_beside(f"{FILES}/{position}", file)
            else:
                layer.write_file(file)
    write_device_links(plan.links, FILES)
    try:
        mounts.mount_overlay(LOWER, upper, work, ROOTFS, in_user_namespace=plan.in_user_namespace)
    except OSError as error:
        raise RootfsError(
            "cannot lay the writable layer over the image",
            evidence=f"{error.strerror} (overlayfs, Linux {os.uname().release})",
            remedy="rootless overlays need Linux 5.11 and a writable layer on a local file system: "
            "set SAMPAN_UPPER to a directory of one"
            if plan.in_user_namespace
            else "modprobe overlay",
        ) from error


def fuse_server_options(plan: RootfsPlan) -> str:
    """The ``-o`` text of squashfuse_ll for this image."""
    return ",".join((f"offset={plan.offset}", *plan.fuse_options))


def _make_writable_layer(host_directory: str) -> tuple[str, str]:
    if host_directory:
        # By a name here: overlayfs splits its options at commas and colons.
        os.mkdir("writable", 0o755)
        mounts.bind(host_directory, "writable", recursive=False)
        upper, work = "writable/upper", "writable/work"
    else:
        upper, work = "upper", "work"
    os.mkdir(upper, 0o755)
    os.mkdir(work, 0o755)
    return upper, work


def _refuse_kernel_trees(path: str) -> None:
    """Refuse to have the kernel's own trees copied into memory: /proc/kcore has 128 TiB."""
    real = resolve_in_root(LOWER, path).path
    if real == "/" or real.split("/")[1] in _KERNEL_TREES:
        raise RootfsError(
            f"the volume {path} would be a copy of {real}",
            evidence="/, /proc, /sys and /dev cannot be volumes"
            + ("" if real == path else "; in the image a link leads there"),
            remedy=f"--tmpfs {path}, or without --read-only",
        )


def _mount_image(plan: RootfsPlan, serve: Callable[[int], None]) -> None:
    refusals = []
    for way in plan.ways:
        try:
            if way == "kernel":
                mounts.mount_squashfs(plan.image_path, plan.offset, plan.length, LOWER)
            elif way == "fuse":
                device = mounts.mount_fuse(LOWER, "sampan")
                try:
                    serve(device)
                finally:
                    os.close(device)
                # The first access waits for the server; where it died, it says so.
                os.listdir(LOWER)
            else:
                mounts.bind(plan.unpacked, LOWER, recursive=False)
        except OSError as error:
            refusals.append(f"{way}: {error.strerror} ({error.filename})")
            mounts.detach(LOWER)
        else:
            return
    raise RootfsError(
        f"cannot mount {plan.image_path}",
        evidence="; ".join(refusals) or "neither squashfuse_ll nor the kernel can be used",
        remedy="sudo apt-get install squashfuse    and check that /dev/fuse has mode 0666",
    )


def _write_beside(path: str, file: PlannedFile) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, file.content)
        os.fchmod(descriptor, file.mode)
    finally:
        os.close(descriptor)
