"""Signals to running containers, waiting for their end, forgetting ended ones.

Nobody serves requests: a signal goes through the container's own runtime, which is run in the
container's outer namespaces, and the end is seen by the processes' descriptors (pidfd_open(2)).
"""

import contextlib
import os
import select
import signal
import time

from sampan.engines.native import state
from sampan.engines.native.runtime import locate_runtime, runtime_options
from sampan.engines.native.signals import parse_signal
from sampan.errors import SampanError
from sampan.kernel import libc
from sampan.kernel.cgroups import remove_groups
from sampan.kernel.enter import run_inside
from sampan.kernel.procfs import is_alive

_KILLED = 128 + signal.SIGKILL
_CLEARING_S = 30.0


class NotRunningError(SampanError):
    """The container has ended, or has not started yet."""

    id = "container-not-running"
    exit_code = 1


class StillRunningError(SampanError):
    """A running container is not removed without --force."""

    id = "container-running"
    exit_code = 1


class SignalError(SampanError):
    """A signal could not be delivered."""

    id = "signal"
    exit_code = 1


def locate_running(name_or_id: str) -> state.ContainerRecord:
    """The running container of that name.

    Raises:
        NoSuchContainerError: there is none.
        NotRunningError: it does not run.
    """
    record = state.load_record(name_or_id)
    status = state.container_status(record)
    if status.state != "running" or not record.pid:
        code = "" if status.exit_code is None else f", exit code {status.exit_code}"
        raise NotRunningError(
            f"container {name_or_id} is not running",
            evidence=f"its state is {status.state}{code}",
            remedy="sampan ps lists the running ones",
        )
    return record


def kill_container(name_or_id: str, signal_text: str) -> None:
    """Send a signal to the container's first process.

    Raises:
        SampanError: no such container, not running, no such signal, not delivered.
    """
    number = parse_signal(signal_text)
    _send(locate_running(name_or_id), number)


def stop_container(name_or_id: str, timeout_s: int | None) -> None:
    """Ask the container to end, and kill it when it has not after a while; ended ones are fine.

    Args:
        name_or_id: which one.
        timeout_s: seconds to wait; None = the container's own; negative = for ever.

    Raises:
        SampanError: no such container, or the signal cannot be delivered.
    """
    record = state.load_record(name_or_id)
    if state.container_status(record).state not in ("running", "created"):
        return
    waiter = Waiter(record)
    limit_s = record.stop_timeout_s if timeout_s is None else timeout_s
    with contextlib.closing(waiter):
        try:
            _send(record, parse_signal(record.stop_signal or "TERM"))
        except NotRunningError:
            waiter.wait(None)
            return
        if not waiter.wait(None if limit_s < 0 else float(limit_s)):
            _kill_all(record)
            waiter.wait(None)


def wait_container(name_or_id: str) -> int:
    """Wait for the container's end; return its exit code, also when --rm forgets it then.

    Raises:
        NoSuchContainerError: there is none.
    """
    record = state.load_record(name_or_id)
    with contextlib.closing(Waiter(record)) as waiter:
        waiter.wait(None)
        return waiter.exit_code()


def remove_container(name_or_id: str, *, force: bool) -> None:
    """Forget an ended container; with ``force`` kill a running one first.

    Raises:
        SampanError: no such container, or it runs.
    """
    record = state.load_record(name_or_id)
    if state.container_status(record).state in ("running", "created"):
        if not force:
            raise StillRunningError(
                f"container {name_or_id} is running",
                evidence=f"process {record.pid or record.supervisor_pid}",
                remedy=f"sampan stop {name_or_id}    or sampan rm -f {name_or_id}",
            )
        with contextlib.closing(Waiter(record)) as waiter:
            _kill_all(record)
            waiter.wait(_CLEARING_S)
    _clear_leftovers(record)
    state.remove_record(record.id)


class Waiter:
    """Sees the end of one container, by its pid 1 and its supervisor, and keeps its exit file."""

    def __init__(self, record: state.ContainerRecord) -> None:
        self._exit = _open_exit_file(record.id)
        # The supervisor ends after it has written the exit code and cleared away.
        numbers = (record.pid, record.supervisor_pid)
        self._pidfds = [pidfd for pidfd in map(_open_pidfd, numbers) if pidfd >= 0]
        status = state.container_status(record)
        if status.state not in ("running", "created"):
            # Its numbers may be other processes' by now.
            self._drop_pidfds()

    def wait(self, timeout_s: float | None) -> bool:
        """Whether the container ended within that time (None: wait for ever)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._pidfds:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(self._pidfds, [], [], left)
            if not ready:
                return False
            for pidfd in ready:
                self._pidfds.remove(pidfd)
                os.close(pidfd)
        return True

    def filenos(self) -> list[int]:
        """Descriptors that become readable at the end."""
        return list(self._pidfds)

    def exit_code(self) -> int:
        """After the end: the code; 137 when everybody who could have noted it was killed."""
        text = os.pread(self._exit, 16, 0).decode("ascii").strip() if self._exit >= 0 else ""
        return int(text) if text.isdigit() else _KILLED

    def close(self) -> None:
        """Let go of the processes and the file."""
        self._drop_pidfds()
        if self._exit >= 0:
            os.close(self._exit)
            self._exit = -1

    def _drop_pidfds(self) -> None:
        while self._pidfds:
            os.close(self._pidfds.pop())


def _send(record: state.ContainerRecord, number: int) -> None:
    runtime = locate_runtime()
    options = runtime_options(runtime, record.crun_root, manages_cgroups=False)
    words = [runtime.path, *options, "kill", record.id, str(number)]
    said = os.memfd_create("runtime")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        kinds = libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWPID
        code = run_inside(record.pid, kinds, lambda: words, descriptors={0: null, 1: said, 2: said})
        text = os.pread(said, 4096, 0).decode(errors="replace").strip()
    except ProcessLookupError as error:
        raise NotRunningError(f"container {record.name} has just ended") from error
    except OSError as error:
        raise SignalError(
            f"cannot reach the namespaces of container {record.name}",
            evidence=f"{error.strerror} (process {record.pid})",
        ) from error
    finally:
        os.close(said)
        os.close(null)
    if code != 0:
        if state.container_status(record).state != "running" or "No such process" in text:
            raise NotRunningError(f"container {record.name} has just ended", evidence=text)
        raise SignalError(f"cannot signal container {record.name}", evidence=text)


def _kill_all(record: state.ContainerRecord) -> None:
    """Kill pid 1 of the outer pid namespace, and so everything that is the container's."""
    for pid, started in (
        (record.pid, record.pid_start),
        (0 if record.pid else record.supervisor_pid, record.supervisor_start),
    ):
        pidfd = _open_pidfd(pid)
        if pidfd < 0:
            continue
        try:
            # The number is checked after the descriptor was opened: it cannot pass on any more.
            if is_alive(pid, started):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def _clear_leftovers(record: state.ContainerRecord) -> None:
    """What stays when supervisor and reaper were both killed: the writable layer, the cgroup."""
    remove_groups(tuple(path for path in record.cgroup.split(":") if path))
    if record.upper and os.path.isdir(record.upper):
        from sampan.engines.native.host import plan_user_namespace
        from sampan.engines.native.writable_layer import remove_writable_directory

        maps = plan_user_namespace() if record.rootless else (None, "", "")
        remove_writable_directory(record.upper, *maps)


def _open_pidfd(pid: int) -> int:
    if pid <= 0:
        return -1
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def _open_exit_file(container_id: str) -> int:
    path = f"{state.container_directory(container_id)}/{state.EXIT_FILE}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
