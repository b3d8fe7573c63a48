"""From a computed launch to a running container: clone, id maps, the wait, the exit code.

Three processes of ours take part. The *supervisor* is the one that calls ``start``: the command
itself in the foreground, the watcher of a detached container. *Pid 1* is its clone in new
namespaces; it mounts the image (``pid1.py``) and execs the ``Program``: crun in the foreground,
conmon when detached. The *reaper* clears away when the supervisor is killed (``reaper.py``).
Nothing here looks at images or options: ``engines/prepare.py`` did.
"""

import contextlib
import marshal
import os
import signal
from collections.abc import Callable
from typing import NamedTuple

from sampan.engines.native import pid1, runtime, trace
from sampan.engines.native.launch_plan import Launch, Program
from sampan.engines.native.reaper import Reaper, dismiss, start_reaper
from sampan.errors import SampanError
from sampan.kernel import cgroups, libc, userns

FORWARDED = frozenset(
    (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    )
)
"""Signals that are the container's, as with docker run's --sig-proxy."""

_SENT_BY_KERNEL = 0x80  # SI_KERNEL: the terminal, whose whole process group has it already


class PidOneError(SampanError):
    """What pid 1 reported before it could become the runtime; takes the reported error's id."""


class Running(NamedTuple):
    """A started container: pid 1 as this process sees it, the runtime's log, who clears away."""

    pid: int
    launch: Launch
    log: int
    reaper: Reaper
    clear_away: Callable[[], None]


def start(
    launch: Launch,
    program: Program,
    *,
    connect_network: Callable[[int], None] | None = None,
    before_start: Callable[[int], None] | None = None,
    clear_away: Callable[[], None] | None = None,
) -> Running:
    """Make the namespaces and mounts and exec ``program`` in them.

    On return the signals of FORWARDED are blocked in this process; ``wait`` takes them.

    Args:
        launch: what to start.
        program: what pid 1 becomes.
        connect_network: called with pid 1's number once its network namespace exists.
        before_start: called with pid 1's number when all is ready, just before the exec.
        clear_away: removes what is on the host, called at the container's end by whoever lives.

    Raises:
        SampanError: a step failed; nothing is left running then.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    failed = cgroups.make_groups(launch.cgroup)
    if failed:
        cgroups.remove_groups(launch.cgroup.directories)
        raise SampanError("cannot set the container's limits", evidence="; ".join(failed))

    def clear() -> None:
        cgroups.remove_groups(launch.cgroup.directories)
        if clear_away is not None:
            clear_away()

    orders, giving = os.pipe()
    hearing, answers = os.pipe()
    log = os.memfd_create("runtime-log")
    os.set_inheritable(log, False)
    trace.mark("plan")
    try:
        pid = libc.clone(_clone_flags(launch))
    except OSError as error:
        clear()
        raise userns.refuse(error) from error
    if pid == 0:
        os.close(giving)
        os.close(hearing)
        pid1.become_container(launch, program, pid1.Gates(orders, answers, log))
    os.close(orders)
    os.close(answers)
    trace.mark("clone")
    running = None
    try:
        if launch.id_maps is not None:
            userns.write_id_maps(pid, launch.id_maps, launch.newuidmap, launch.newgidmap)
        os.write(giving, pid1.MAPPED)
        trace.mark("id maps")
        running = Running(pid, launch, log, start_reaper(pid, clear), clear)
        if connect_network is not None:
            connect_network(pid)
        _receive(hearing, pid1.READY)
        if before_start is not None:
            before_start(pid)
        os.write(giving, pid1.GO)
        _receive(hearing, b"")
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        clear()
        if running is not None:
            dismiss(running.reaper)
        raise
    finally:
        os.close(giving)
        os.close(hearing)
    trace.mark("start")
    return running


def wait(running: Running) -> int:
    """Wait for the container's end, passing signals on; return its exit code (128 + signal).

    Raises:
        ContainerStartError: the runtime could not start the container's program.
    """
    waited = FORWARDED | {signal.SIGCHLD}
    # Blocked before the first look, or the end of pid 1 could slip between look and wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    while True:
        pid, status = os.waitpid(running.pid, os.WNOHANG)
        if pid:
            break
        taken = signal.sigwaitinfo(waited)
        if taken.si_signo != signal.SIGCHLD and taken.si_code != _SENT_BY_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, taken.si_signo)
    trace.mark("container")
    code = os.waitstatus_to_exitcode(status)
    running.clear_away()
    dismiss(running.reaper)
    trace.mark("clear away")
    if code > 0:
        _raise_start_failure(running)
    return 128 - code if code < 0 else code


def _raise_start_failure(running: Running) -> None:
    size = os.fstat(running.log).st_size
    if size:
        log = os.pread(running.log, size, 0).decode(errors="replace")
        error = runtime.explain_failure(running.launch.runtime, log, running.launch.command)
        if error is not None:
            raise error


def _clone_flags(launch: Launch) -> int:
    flags = libc.CLONE_NEWNS | libc.CLONE_NEWPID
    if launch.id_maps is not None:
        flags |= libc.CLONE_NEWUSER
    if launch.network != "host":
        flags |= libc.CLONE_NEWNET
    return flags


def _receive(hearing: int, expected: bytes) -> None:
    """Read pid 1's answer: READY with its trace marks; or, at the exec, the end of the pipe."""
    answer = os.read(hearing, 1 << 16)
    if answer[:1] == pid1.FAILED:
        identity, exit_code, cause, evidence, remedy = marshal.loads(answer[1:])  # noqa: S302 - our own child
        error = PidOneError(cause, evidence=evidence, remedy=remedy)
        error.id = identity  # type: ignore[misc]
        error.exit_code = exit_code
        raise error
    if answer[:1] != expected:
        raise PidOneError("pid 1 of the container ended before it could start it")
    if expected == pid1.READY:
        trace.add_marks(marshal.loads(answer[1:]))  # noqa: S302 - our own child
