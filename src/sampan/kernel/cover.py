"""Lays a file over one of a container's, by a mount, where it cannot be written: /proc, read-only roots.

Runs in the container's mount namespace before its root is entered, with our own /proc still in place.
Nothing is left behind in the container's file system: the file lies on a tmpfs that is attached only
while the bind mount is made, and lives on below it.
"""

import errno
import os
import stat

from sampan.kernel.libc import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REMOUNT,
    mount,
    openat2,
    umount,
)
from sampan.kernel.root_handle import ONE_STEP, RootHandle, write_descriptor

_LOCKED = MS_NOSUID | MS_NODEV | MS_NOEXEC
_NAME = "file"
_ROOM = 1 << 16
"""What a tmpfs needs besides the content, generously."""


def cover_file(root: RootHandle, path: str, content: bytes, mode: int, *, resolve: int = 0) -> None:
    """Mount a read-only file of this content over the regular file ``path`` of the container.

    Args:
        root: the container's.
        path: where its links lead, inside the root.
        content: of the file.
        mode: of the file.
        resolve: further RESOLVE_ flags: NO_XDEV for what a link of the image could lead into a
            directory of the host, which a shared mount would carry the new mount back to.

    Raises:
        OSError: there is none, it is no regular file (EINVAL), or this process may not mount.
    """
    directory = path.rpartition("/")[0] or "/"
    target = root.open(path, os.O_PATH | os.O_NOFOLLOW, resolve=resolve)
    try:
        if not stat.S_ISREG(os.fstat(target).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        below = root.open(directory, os.O_PATH | os.O_DIRECTORY, resolve=resolve)
        try:
            size = len(content) + _ROOM
            mount("sampan", _path_of(below), "tmpfs", _LOCKED, f"mode=0755,size={size},nr_inodes=8")
            shelf = root.open(directory, os.O_PATH | os.O_DIRECTORY)
            try:
                if os.fstat(shelf).st_dev == os.fstat(below).st_dev:
                    raise OSError(errno.EBUSY, "the file system that was mounted is not seen", path)
                _lay(shelf, target, content, mode)
            finally:
                umount(_path_of(shelf), MNT_DETACH)
                os.close(shelf)
        finally:
            os.close(below)
    finally:
        os.close(target)
    covered = root.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        mount("none", _path_of(covered), flags=MS_REMOUNT | MS_BIND | MS_RDONLY | _LOCKED)
    finally:
        os.close(covered)


def _lay(shelf: int, target: int, content: bytes, mode: int) -> None:
    mount("none", _path_of(shelf), flags=MS_PRIVATE)
    descriptor = openat2(
        shelf, _NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, resolve=ONE_STEP, mode=0o600
    )
    try:
        write_descriptor(descriptor, content)
        os.fchmod(descriptor, mode)
        mount(_path_of(descriptor), _path_of(target), flags=MS_BIND)
    finally:
        os.close(descriptor)


def _path_of(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"
