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
import time
from collections.abc import Callable
from typing import NamedTuple

from sampan.engines.native import pid1, rootfs, runtime, trace
from sampan.engines.native.launch_plan import Launch, Program
from sampan.engines.native.reaper import Reaper, dismiss, start_reaper
from sampan.engines.native.writable_layer import make_writable_directory
from sampan.errors import EXIT_OURS, SampanError
from sampan.kernel import cgroups, libc, mounts, userns
from sampan.kernel.channel import Channel, make_channel
from sampan.kernel.locks import hold_shared

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

KILLED = 128 + signal.SIGKILL
"""Exit code of a container whose supervisor was killed."""

_RETRY_S = 0.02
_SENT_BY_KERNEL = 0x80  # SI_KERNEL: the terminal, whose whole process group has it already


class PidOneError(SampanError):
    """What pid 1 reported before it could become the runtime; takes the reported error's id."""


class LimitsError(SampanError):
    """The control groups cannot be made or set."""

    id = "limits"


class NamespaceError(SampanError):
    """No namespaces even for root."""

    id = "namespaces"


class ImageServerError(SampanError):
    """The FUSE server died under the container."""

    id = "image-server"


class Running(NamedTuple):
    """A started container: pid 1 as this process sees it, the runtime's log, who clears away.

    ``server`` is the FUSE server's process id; 0 when the kernel mounts the image. ``image`` is the
    locked image file; -1 where it cannot be locked.
    """

    pid: int
    server: int
    launch: Launch
    log: int
    reaper: Reaper
    clear_away: Callable[[int], None]
    image: int


def start(
    launch: Launch,
    program: Program,
    *,
    connect_network: Callable[[int], None] | None = None,
    before_start: Callable[[int], None] | None = None,
    clear_away: Callable[[int], None] | None = None,
) -> Running:
    """Make the namespaces and mounts and exec ``program`` in them.

    On return the signals of FORWARDED are blocked in this process; ``wait`` takes them.

    Args:
        launch: what to start.
        program: what pid 1 becomes.
        connect_network: called with pid 1's number once its network namespace exists.
        before_start: called with pid 1's number when all is ready, just before the exec.
        clear_away: removes what is on the host, called with the exit code at the container's end
            by whoever lives. It must be safe to do twice.

    Raises:
        SampanError: a step failed; nothing is left running then.
    """

    def clear(exit_code: int) -> None:
        cgroups.remove_groups(launch.cgroup.directories)
        if clear_away is not None:
            clear_away(exit_code)

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGWINCH})
    ours, theirs = make_channel()
    log = os.memfd_create("runtime-log")
    image = _hold_image(launch.rootfs.image_path)
    try:
        _make_host_parts(launch)
        trace.mark("plan")
        pid = _clone(launch)
    except SampanError:
        _release(image)
        clear(EXIT_OURS)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if pid == 0:
        ours.close()
        pid1.become_container(launch, program, pid1.Gates(theirs, log))
    theirs.close()
    trace.mark("clone")
    reaper, server = None, 0
    try:
        if launch.id_maps is not None:
            userns.write_id_maps(pid, launch.id_maps, launch.newuidmap, launch.newgidmap)
        ours.send(pid1.MAPPED)
        trace.mark("id maps")
        reaper = start_reaper(pid, lambda: clear(KILLED))
        if connect_network is not None:
            connect_network(pid)
        server = _serve_until_ready(ours, launch)
        if before_start is not None:
            before_start(pid)
        ours.send(pid1.GO)
        _expect_exec(ours)
    except BaseException:
        _end(pid, server)
        _release(image)
        clear(EXIT_OURS)
        if reaper is not None:
            dismiss(reaper)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    finally:
        ours.close()
    trace.mark("start")
    return Running(pid, server, launch, log, reaper, clear, image)


def wait(running: Running) -> int:
    """Wait for the container's end, passing signals on; return its exit code (128 + signal).

    Raises:
        ContainerStartError: the runtime could not start the container's program.
        ImageServerError: the FUSE server died, and the container was killed.
    """
    status, reaper, server_died = _supervise(running)
    trace.mark("container")
    code = os.waitstatus_to_exitcode(status)
    failure = _start_failure(running) if code > 0 else None
    if server_died:
        failure = ImageServerError(
            "the container was killed, because the server of its image died",
            evidence=f"{running.launch.rootfs.fuse_program}, process {running.server}",
            remedy="dmesg shows whether memory ran out",
        )
    exit_code = 128 - code if code < 0 else code
    if failure is not None:
        exit_code = failure.exit_code
    _release(running.image)
    running.clear_away(exit_code)
    dismiss(reaper)
    trace.mark("clear away")
    if failure is not None:
        raise failure
    return exit_code


def _hold_image(path: str) -> int:
    """Lock the image: ``prune`` of another user of the store knows nothing of our containers."""
    try:
        return hold_shared(path)
    except OSError:
        return -1  # a file system without locks; an image that is gone is pid 1's to report


def _release(image: int) -> None:
    if image >= 0:
        os.close(image)


def _supervise(running: Running) -> tuple[int, Reaper, bool]:
    """Until pid 1 ends: its wait status, the reaper by then, whether the FUSE server died."""
    waited = FORWARDED | {signal.SIGCHLD, signal.SIGWINCH}
    # Blocked before the first look, or the end of pid 1 could slip between look and wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    reaper, server, server_died = running.reaper, running.server, False
    deadline, resized = None, False
    while True:
        pid, status = os.waitpid(running.pid, os.WNOHANG)
        if pid:
            _end(server)
            return status, reaper, server_died
        if os.waitpid(reaper.pid, os.WNOHANG)[0]:
            # Killed: the container must not go unwatched.
            os.close(reaper.pipe)
            reaper = start_reaper(running.pid, lambda: running.clear_away(KILLED))
        if server:
            ended, server_status = os.waitpid(server, os.WNOHANG)
            server = 0 if ended else server
            # It ends by itself, with code 0, once the container's mounts are gone.
            if ended and server_status != 0:
                server_died = True
                os.kill(running.pid, signal.SIGKILL)
        if resized:
            from sampan.engines.native.window import copy_window_size

            resized = not copy_window_size(running.pid)
        taken = _next_signal(waited, deadline, again=resized)
        if taken is None:
            if deadline is not None and time.monotonic() >= deadline:
                os.kill(running.pid, signal.SIGKILL)
                deadline = None
        elif taken.si_signo == signal.SIGWINCH:
            resized = running.launch.terminal
        elif taken.si_signo == signal.SIGHUP and taken.si_code == _SENT_BY_KERNEL:
            # The terminal is gone, and nobody can ever attach to this container again.
            deadline = time.monotonic() + running.launch.stop_timeout_s
        elif taken.si_signo != signal.SIGCHLD and taken.si_code != _SENT_BY_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, taken.si_signo)


def _next_signal(
    waited: frozenset[signal.Signals], deadline: float | None, *, again: bool
) -> signal.struct_siginfo | None:
    """Wait for a signal; None when the deadline passed or it is time to try again."""
    if deadline is None and not again:
        return signal.sigwaitinfo(waited)
    remaining = _RETRY_S if deadline is None else max(deadline - time.monotonic(), 0)
    return signal.sigtimedwait(waited, min(remaining, _RETRY_S) if again else remaining)


def _start_failure(running: Running) -> SampanError | None:
    size = os.fstat(running.log).st_size
    if not size:
        return None
    log = os.pread(running.log, size, 0).decode(errors="replace")
    return runtime.explain_failure(running.launch.runtime, log, running.launch.command)


def _make_host_parts(launch: Launch) -> None:
    """Make what pid 1 cannot make for itself: control groups, the directory of the layer."""
    try:
        failed = cgroups.make_groups(launch.cgroup)
        if launch.rootfs.upper_directory:
            make_writable_directory(launch.rootfs.upper_directory)
    except OSError as error:
        failed = (f"{error.strerror}: {error.filename}",)
    if failed:
        raise LimitsError(
            "cannot set up the container's control groups",
            evidence="; ".join(failed),
            remedy="leave out --memory, --cpus and --pids-limit, or free what is named",
        )


def _clone(launch: Launch) -> int:
    flags = libc.CLONE_NEWNS | libc.CLONE_NEWPID
    if launch.id_maps is not None:
        flags |= libc.CLONE_NEWUSER
    if launch.network != "host":
        flags |= libc.CLONE_NEWNET
    try:
        return libc.clone(flags)
    except OSError as error:
        if launch.id_maps is not None:
            raise userns.refuse(error) from error
        raise NamespaceError(
            "the kernel refuses new namespaces to root",
            evidence=str(error.strerror),
            remedy="inside another container: give that one CAP_SYS_ADMIN, or run as another user",
        ) from error


def _serve_until_ready(channel: Channel, launch: Launch) -> int:
    """Start the FUSE server if pid 1 asks for one; return its process id or 0."""
    server = 0
    while True:
        answer, device = channel.receive()
        if answer[:1] == pid1.READY:
            trace.add_marks(marshal.loads(answer[1:]))  # noqa: S302 - our own child
            return server
        if answer != pid1.SERVE:
            _end(0, server)
            raise _reported(answer)
        plan = launch.rootfs
        try:
            server = mounts.start_fuse_server(
                plan.fuse_program, rootfs.fuse_server_options(plan), plan.image_path, device
            )
        finally:
            os.close(device)


def _expect_exec(channel: Channel) -> None:
    answer, _ = channel.receive()
    if answer:
        raise _reported(answer)


def _reported(answer: bytes) -> PidOneError:
    if answer[:1] != pid1.FAILED:
        return PidOneError("pid 1 of the container ended before it could start it")
    identity, exit_code, cause, evidence, remedy = marshal.loads(answer[1:])  # noqa: S302 - our own child
    error = PidOneError(cause, evidence=evidence, remedy=remedy)
    error.id = identity  # type: ignore[misc]
    error.exit_code = exit_code
    return error


def _end(*pids: int) -> None:
    for pid in pids:
        if pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
