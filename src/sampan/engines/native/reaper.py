"""The process that clears away when the supervisor was killed and could not do it itself.

It is forked from the supervisor, leads a session of its own, and sleeps on a pipe. When the
supervisor ends without saying that all is done, the kernel has already killed the container (pid
1's parent-death signal) and with it every mount and FUSE server; what is left is on the host:
cgroup, writable directory, record. Killed itself, the supervisor does the same at its own end.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import NamedTuple

_DONE = b"."
_LAST_DESCRIPTOR = 1 << 16


class Reaper(NamedTuple):
    """The reaper's process id and our end of its pipe."""

    pid: int
    pipe: int


def start_reaper(watched_pid: int, clear_away: Callable[[], None]) -> Reaper:
    """Have ``clear_away`` called in another process, should this one die before ``dismiss``.

    Args:
        watched_pid: a child of ours whose end is waited for before clearing away.
        clear_away: what to do; it must be safe to do twice.
    """
    pidfd = os.pidfd_open(watched_pid)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _watch(reader, pidfd, clear_away)
        finally:
            os._exit(0)
    os.close(reader)
    os.close(pidfd)
    return Reaper(pid, writer)


def dismiss(reaper: Reaper) -> None:
    """Say that nothing is left to clear away, and wait for the reaper's end."""
    with contextlib.suppress(OSError):
        os.write(reaper.pipe, _DONE)
    os.close(reaper.pipe)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(reaper.pid, 0)


def _watch(reader: int, pidfd: int, clear_away: Callable[[], None]) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        # The caller of `$(sampan run …)` waits until nobody has the pipe open any more.
        os.dup2(null, descriptor)
    kept = sorted((reader, pidfd))
    # The other ends of the supervisor's pipes must close with the supervisor alone.
    os.closerange(3, kept[0])
    os.closerange(kept[0] + 1, kept[1])
    os.closerange(kept[1] + 1, _LAST_DESCRIPTOR)
    if os.read(reader, 1) == _DONE:
        return
    import select

    # Readable once the process has ended, though it is not our child.
    select.select([pidfd], [], [])
    clear_away()
