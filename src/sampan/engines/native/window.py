"""The size of our terminal, copied to the container's when the window changes.

crun before 1.9 passes SIGWINCH on but not the size. The container's terminal is reached through
the runtime process, which holds its other end; never through a process of the container's.
"""

import fcntl
import os
import termios

from sampan.kernel.libc import pidfd_getfd


def copy_window_size(runtime_pid: int, proc: int | None = None) -> bool:
    """Give the container's terminal the size of ours.

    Args:
        runtime_pid: as our own pid namespace counts.
        proc: open directory of that namespace's /proc, where ours is another's.

    Returns:
        False when the runtime has not made that terminal yet.
    """
    size = _own_size()
    if not size:
        return True
    copied = False
    try:
        pidfd = os.pidfd_open(runtime_pid)
    except OSError:
        return True
    place = -1
    try:
        path = f"/proc/{runtime_pid}/fd" if proc is None else f"{runtime_pid}/fd"
        place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        for name in os.listdir(place):
            if os.path.basename(os.readlink(name, dir_fd=place)) == "ptmx":
                master = pidfd_getfd(pidfd, int(name))
                try:
                    fcntl.ioctl(master, termios.TIOCSWINSZ, size)
                    copied = True
                finally:
                    os.close(master)
    except OSError:
        # The runtime has just ended, or a security module forbids it: the old size stays.
        return True
    finally:
        os.close(pidfd)
        if place >= 0:
            os.close(place)
    return copied


def _own_size() -> bytes:
    for descriptor in (0, 1, 2):
        try:
            return fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
        except OSError:
            continue
    return b""
