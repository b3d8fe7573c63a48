"""What quotas leave to this user on a file system (quotactl(2)); no privilege is needed for one's own.

Project quotas are in what ``statvfs`` says; a network file system's are known to its server alone:
there the first write beyond it fails with EDQUOT.
"""

import ctypes
import os
import struct
from typing import NamedTuple

from sampan.kernel.mountinfo import find_mount

_Q_GETQUOTA = 0x800007
_QUOTACTL_FD = 443
"""Of all architectures (Linux 5.14)."""

_KINDS = {"user": 0, "group": 1}
_BLOCK = 1024
_DQBLK = struct.Struct("=8QI4x")
"""struct if_dqblk of linux/quota.h: limits in KiB, the space used in bytes."""

_BLOCK_LIMITS, _INODE_LIMITS = 1, 4
"""QIF_BLIMITS, QIF_ILIMITS: which members are valid."""

_libc = ctypes.PyDLL(None, use_errno=True)


class Quota(NamedTuple):
    """What is left of a hard limit; None where there is none.

    Attributes:
        kind: ``user`` or ``group``.
    """

    kind: str
    free_bytes: int | None
    free_inodes: int | None


def find_quotas(directory: str) -> tuple[Quota, ...]:
    """The limits of this process's user and group where an existing directory lies."""
    quotas = []
    for kind, identity in (("user", os.geteuid()), ("group", os.getegid())):
        answer = _ask(directory, _KINDS[kind], identity)
        if answer is None:
            continue
        quota = read_quota(kind, answer)
        if quota.free_bytes is not None or quota.free_inodes is not None:
            quotas.append(quota)
    return tuple(quotas)


def read_quota(kind: str, answer: bytes) -> Quota:
    """What the kernel's ``struct if_dqblk`` says."""
    hard, _, used, inode_hard, _, inodes, _, _, valid = _DQBLK.unpack(answer)
    return Quota(
        kind,
        max(0, hard * _BLOCK - used) if hard and valid & _BLOCK_LIMITS else None,
        max(0, inode_hard - inodes) if inode_hard and valid & _INODE_LIMITS else None,
    )


def _ask(directory: str, kind: int, identity: int) -> bytes | None:
    command = _Q_GETQUOTA << 8 | kind
    answer = ctypes.create_string_buffer(_DQBLK.size)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        done = _libc.syscall(
            ctypes.c_long(_QUOTACTL_FD),
            ctypes.c_long(descriptor),
            ctypes.c_ulong(command),
            ctypes.c_long(identity),
            answer,
        )
        if done < 0:
            device = _find_device(os.fstat(descriptor).st_dev)
            if not device:
                return None
            done = _libc.quotactl(ctypes.c_int(command), os.fsencode(device), identity, answer)
    finally:
        os.close(descriptor)
    return answer.raw if done == 0 else None


def _find_device(number: int) -> str:
    """The block device of a mounted file system, for kernels before 5.14."""
    mount = find_mount(number)
    return mount.source if mount and mount.source.startswith("/dev/") else ""
