"""Containers in the background: a watcher of our own in place of the command, conmon as pid 1.

conmon holds the terminal or the pipes and writes the log; being pid 1 of the container's outer pid
namespace it also reaps, and it ends with the container's exit code. The watcher is the supervisor
of ``launch.py`` in a session of its own. conmon only creates the container: a *starter*, forked
from pid 1 before it becomes conmon, reads on conmon's sync pipe how that went, and starts it.
"""

import json
import marshal
import os
from typing import NoReturn

from sampan.engines.native import launch, state
from sampan.engines.native.foreground import (
    clear_away_of,
    enter_record,
    network_of,
    note_start,
)
from sampan.engines.native.launch_plan import Inside, Program
from sampan.engines.prepare import Prepared
from sampan.errors import EXIT_OURS, SampanError
from sampan.kernel.enter import reset_signals
from sampan.kernel.programs import find_executable

LOG_FILE = "log"
_LARGEST_LOG = 64 << 20
"""Bytes. The log lies in memory mostly (/run), so conmon begins a new one at some length."""

_STARTED = b"s"


class ConmonMissingError(SampanError):
    """conmon is not installed."""

    id = "conmon-missing"


class BackgroundError(SampanError):
    """What went wrong in the watcher; takes that error's id and exit code."""

    id = "background"


def locate_conmon() -> str:
    """Absolute path of conmon.

    Raises:
        ConmonMissingError: it is nowhere.
    """
    path = find_executable("conmon") or find_executable("/usr/libexec/podman/conmon")
    if path:
        return path
    raise ConmonMissingError(
        "conmon is needed for containers in the background",
        evidence="not on PATH, nor in the system directories",
        remedy="sudo apt-get install conmon    or run without -d",
    )


def run_detached(prepared: Prepared) -> None:
    """Start the container in the background; return when its program runs.

    Raises:
        SampanError: it could not be started.
    """
    conmon = locate_conmon()
    log_path = f"{state.container_directory(prepared.record.id)}/{LOG_FILE}"
    prepared = prepared._replace(record=prepared.record._replace(log_path=log_path))
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _become_watcher(prepared, conmon, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    if answer == _STARTED:
        return
    if not answer:
        raise BackgroundError("the container's watcher was killed before the container ran")
    identity, exit_code, cause, evidence, remedy = marshal.loads(answer)  # noqa: S302 - our own child
    error = BackgroundError(cause, evidence=evidence, remedy=remedy)
    error.id = identity  # type: ignore[misc]
    error.exit_code = exit_code
    raise error


def conmon_program(conmon: str, log_path: str, report: int) -> Program:
    """What pid 1 becomes: conmon over the runtime's ``create``, with a starter beside it.

    Args:
        conmon: absolute path.
        log_path: the container's log, in the format that ``logs.py`` reads.
        report: where the starter tells that the container runs; closed by its end otherwise.
    """

    def become_conmon(inside: Inside) -> list[str]:
        log = int(inside.log.rpartition("/")[2])
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.close(writer)
            _start_when_created(inside, reader, log, report)
        os.close(reader)
        os.set_inheritable(writer, True)
        # conmon keeps what it inherits, and the log is the watcher's, not the container's.
        os.set_inheritable(log, False)
        os.environ["_OCI_SYNCPIPE"] = str(writer)
        # Its console socket would else lie in the host's directory for temporary files.
        os.environ["TMPDIR"] = inside.bundle
        for name in ("_OCI_STARTPIPE", "_OCI_ATTACHPIPE", "NOTIFY_SOCKET", "LISTEN_FDS"):
            os.environ.pop(name, None)
        reset_signals()
        return _conmon_words(conmon, inside, log_path)

    return become_conmon


def _conmon_words(conmon: str, inside: Inside, log_path: str) -> list[str]:
    words = [conmon, "--sync", "--api-version", "1", "--cid", inside.container_id]
    words += ["--cuuid", inside.container_id, "--name", inside.container_id[:12]]
    words += ["--runtime", inside.runtime, "--bundle", inside.bundle]
    words += ["--container-pidfile", f"{inside.bundle}/pidfile"]
    words += ["--log-path", f"k8s-file:{log_path}", "--log-level", "error"]
    words += ["--log-size-max", str(_LARGEST_LOG)]
    words += ["--socket-dir-path", f"{inside.bundle}/sockets"]
    for option in inside.runtime_options:
        words += ["--runtime-arg", option]
    if inside.terminal:
        words.append("--terminal")
    if inside.interactive:
        words += ["--stdin", "--leave-stdin-open"]
    os.mkdir(f"{inside.bundle}/sockets", 0o700)
    return words


def _start_when_created(inside: Inside, sync: int, log: int, report: int) -> NoReturn:
    """The starter. conmon sends ``{"data": PID}``, or -1 with the runtime's own words."""
    try:
        with os.fdopen(sync, "rb") as stream:
            line = stream.readline()
        answer = json.loads(line) if line else {}
        if int(answer.get("data", -1)) <= 0:
            os.write(log, str(answer.get("message", "")).strip().encode())
            os._exit(0)
        common = [inside.runtime, *inside.runtime_options, "--log", f"/proc/self/fd/{log}"]
        os.set_inheritable(log, True)
        if _run([*common, "start", inside.container_id]) == 0:
            os.write(report, _STARTED)
        else:
            # conmon waits for a container that will never run.
            _run([*common, "delete", "--force", inside.container_id])
    finally:
        os._exit(0)


def _run(words: list[str]) -> int:
    child = os.posix_spawn(words[0], words, os.environ)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become_watcher(prepared: Prepared, conmon: str, told: int) -> NoReturn:
    try:
        os.setsid()
        os.chdir("/")
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            # Who reads our output waits until nobody holds it open.
            os.dup2(null, descriptor)
        os.close(null)
        try:
            if prepared.leases:
                from sampan.engines.leases import take_over

                prepared = prepared._replace(leases=take_over(prepared.leases))
            running = _start(prepared, conmon)
        except SampanError as error:
            content = (error.id, error.exit_code, error.cause, error.evidence, error.remedy)
            os.write(told, marshal.dumps(content))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            content = ("internal", EXIT_OURS, "the container's watcher failed", text, "")
            os.write(told, marshal.dumps(content))
        else:
            os.write(told, _STARTED)
            os.close(told)
            launch.wait(running)
    finally:
        os._exit(0)


def _start(prepared: Prepared, conmon: str) -> launch.Running:
    record = enter_record(prepared.record)
    reader, writer = os.pipe()
    try:
        running = launch.start(
            prepared.launch,
            conmon_program(conmon, record.log_path, writer),
            connect_network=network_of(prepared),
            before_start=lambda pid: note_start(record.id, pid),
            clear_away=clear_away_of(prepared),
        )
        os.close(writer)
        if os.read(reader, 1) != _STARTED:
            code = launch.wait(running)
            raise BackgroundError(
                "the container could not be started",
                evidence=f"conmon ended with exit code {code}",
                remedy="run it without -d: its own words are shown then",
            )
        os.close(reader)
    except SampanError:
        state.remove_record(record.id)
        raise
    return running
