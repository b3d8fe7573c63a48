"""Whether locks on a file system are seen by the other hosts that have it mounted."""

import errno
import os
from collections.abc import Sequence

from sampan.kernel.mountinfo import find_mount

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What the kernel says where a file system has no locks: Lustre without ``-o flock``, NFS without
lockd."""


def find_lock_trouble(directory: str) -> str:
    """Why locks in an existing directory cannot be relied upon between hosts; empty when they can.

    Only what the mount says: locks that are refused are known by trying one.
    """
    mount = find_mount(os.stat(directory).st_dev)
    return judge_mount(mount.kind, mount.options) if mount else ""


def judge_mount(kind: str, options: Sequence[str]) -> str:
    """Why locks on a mount of this type with these options are not shared; empty when they are.

    Sources: lustre's mount.lustre(8) (``flock``, ``localflock``, ``noflock``), nfs(5) (``nolock``,
    ``local_lock``), BeeGFS's ``tuneUseGlobalFileLocks`` (off by default, not shown in the mount),
    sshfs (FUSE locks that stay in the kernel of each host).
    """
    if kind == "lustre" and "flock" not in options:
        return f"lustre mounted with {'localflock' if 'localflock' in options else 'noflock'}"
    if kind in ("nfs", "nfs4"):
        for option in ("nolock", "local_lock=all", "local_lock=posix"):
            if option in options:
                return f"{kind} mounted with {option}"
    if kind in ("beegfs", "fuse.sshfs"):
        return f"{kind} keeps locks to each host"
    return ""
