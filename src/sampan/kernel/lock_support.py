"""Whether locks on a file system are seen by the other hosts that have it mounted."""

import errno
import os

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What the kernel says where a file system has no locks: Lustre without ``-o flock``, NFS without
lockd."""


def find_lock_trouble(directory: str) -> str:
    """Why locks in an existing directory cannot be relied upon between hosts; empty when they can.

    Only what the mount says: locks that are refused are known by trying one.
    """
    number = os.stat(directory).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split()
                if fields[2] == wanted:
                    rest = fields[fields.index("-") + 1 :]
                    return judge_mount(rest[0], (fields[5] + "," + rest[-1]).split(","))
    except (OSError, ValueError, IndexError):
        pass
    return ""


def judge_mount(kind: str, options: list[str]) -> str:
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
