"""System calls that Python's ``os`` lacks, each a thin wrapper under its kernel name.

On the start path: ctypes and nothing else. ``PyDLL`` keeps the interpreter's lock over the call,
which ``clone`` needs, since its child goes on as this same interpreter. Failures are ``OSError``
with the call's name and the path it was about; who calls knows what to tell the user.
"""

import ctypes
import errno
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

RESOLVE_NO_XDEV = 1
RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8
RESOLVE_IN_ROOT = 16

_SIGKILL = 9
_SIGCHLD = 17
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_READ = 23
_PIDFD_GETFD = 438
_OPENAT2 = 437
_OPEN_TREE = 428
_MOUNT_SETATTR = 442
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOUNT_ATTR_RDONLY = 1
_OPEN_TRIES = 32
_CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220}
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION_KEYRING = 1

_libc = ctypes.PyDLL(None, use_errno=True)


def clone(flags: int) -> int:
    """Fork this process into new namespaces.

    Returns:
        the child's process id in the parent, 0 in the child. As with ``os.fork`` the caller must
        be single-threaded, and the child must not return into the parent's code.

    Raises:
        OSError: the kernel refuses the namespaces (EPERM, ENOSPC, EINVAL, EUSERS).
    """
    machine = os.uname().machine
    number = _CLONE_NUMBERS.get(machine)
    if number is None:
        raise OSError(38, f"clone: no system call number known for {machine}")
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid: int = _libc.syscall(
        ctypes.c_long(number), ctypes.c_ulong(flags | _SIGCHLD), *[ctypes.c_long(0)] * 4
    )
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, f"clone: {os.strerror(code)}")
    return pid


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Attach ``source``, a file system of type ``kind``, to the directory ``target`` (man 2 mount).

    Raises:
        OSError: with ``target`` as its file name.
    """
    done = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        os.fsencode(kind) or None,
        ctypes.c_ulong(flags),
        os.fsencode(data) or None,
    )
    _check(done, "mount", target)


def umount(target: str, flags: int = 0) -> None:
    """Detach what is mounted on ``target`` (man 2 umount2)."""
    _check(_libc.umount2(os.fsencode(target), flags), "umount", target)


def openat2(directory: int, path: str, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open a path relative to a directory's descriptor under RESOLVE_* restrictions (Linux 5.6).

    The descriptor is closed on exec.

    Raises:
        OSError: with ``path`` as its file name; EXDEV where a restriction on mounts or roots forbids
            it, ELOOP where one on links does, ENOSYS before Linux 5.6.
    """
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    opened = -1
    for _ in range(_OPEN_TRIES):
        opened = _libc.syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_long(directory),
            name,
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        # A rename elsewhere made ".." uncertain: man 2 openat2 says to try again.
        if opened >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    _check(opened, "openat2", path)
    return opened


def clone_mount_writable(descriptor: int) -> int:
    """A descriptor of the same directory through a mount of its own that can be written through.

    The mount is attached nowhere, has none of those below the original, and ends with the
    descriptor (man 2 open_tree, mount_setattr; Linux 5.12).

    Raises:
        OSError: the calls are missing or not allowed; a read-only file system stays so.
    """
    cloned: int = _libc.syscall(
        ctypes.c_long(_OPEN_TREE),
        ctypes.c_long(descriptor),
        b"",
        ctypes.c_ulong(_OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH),
    )
    _check(cloned, "open_tree", f"descriptor {descriptor}")
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    attributes = (ctypes.c_uint64 * 4)(0, _MOUNT_ATTR_RDONLY, 0, 0)
    done: int = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_long(cloned),
        b"",
        ctypes.c_ulong(_AT_EMPTY_PATH),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    try:
        _check(done, "mount_setattr", f"descriptor {descriptor}")
    except OSError:
        os.close(cloned)
        raise
    return cloned


def unshare(flags: int) -> None:
    """Give this process namespaces of its own (man 2 unshare)."""
    _check(_libc.unshare(flags), "unshare", hex(flags))


def setns(descriptor: int, kind: int = 0) -> None:
    """Join the namespaces that a namespace file or a pidfd stands for (man 2 setns)."""
    _check(_libc.setns(descriptor, kind), "setns", f"descriptor {descriptor}")


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """Our own copy of another process's open descriptor (Linux 5.6, needs the right to trace)."""
    taken: int = _libc.syscall(
        ctypes.c_long(_PIDFD_GETFD),
        ctypes.c_long(pidfd),
        ctypes.c_long(descriptor),
        ctypes.c_long(0),
    )
    _check(taken, "pidfd_getfd", f"descriptor {descriptor}")
    return taken


def join_new_keyring() -> None:
    """Leave the session keyring, which may hold the login's secrets, for an empty one (keyctl(2)).

    Where a filter around us forbids the call, nothing happens.
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is None:
        return
    joined: int = _libc.syscall(
        ctypes.c_long(number), ctypes.c_long(_JOIN_SESSION_KEYRING), ctypes.c_long(0)
    )
    if joined < 0 and ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM):
        _check(joined, "keyctl", "session keyring")


def die_with_parent(sent: int = _SIGKILL) -> None:
    """Have the kernel send ``sent`` to this process when its parent thread ends.

    A change of credentials clears it, so this comes after them; ``exec`` keeps it.
    """
    arguments = [ctypes.c_ulong(value) for value in (sent, 0, 0, 0)]
    _check(_libc.prctl(_PR_SET_PDEATHSIG, *arguments), "prctl", "PR_SET_PDEATHSIG")


def in_bounding_set(capability: int) -> bool:
    """Whether this process could ever hold ``capability``; False too where the kernel lacks it."""
    arguments = [ctypes.c_ulong(value) for value in (capability, 0, 0, 0)]
    held: int = _libc.prctl(_PR_CAPBSET_READ, *arguments)
    return held == 1


def _check(result: int, call: str, subject: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}", subject)
