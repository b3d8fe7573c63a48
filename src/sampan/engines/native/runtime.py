"""The OCI runtime that makes the container: crun, or runc where there is no crun.

What we depend on: ``run`` in the foreground with terminal, signals and exit code passed on, and
``--log`` for its own errors, which tell a missing command (127) from one that cannot be executed
(126) and from a failure of the runtime (125), as docker's exit codes do.
"""

from typing import NamedTuple

from sampan.errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_OURS, SampanError
from sampan.kernel.programs import find_executable

_NOT_FOUND = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "exec format error", "is a directory", "not a directory")
_COMMAND_CONTEXT = ("exec", "executable file", "open executable", "find executable")


class RuntimeMissingError(SampanError):
    """Neither crun nor runc is installed."""

    id = "runtime-missing"


class ContainerStartError(SampanError):
    """The runtime could not start the container's command."""

    id = "container-start"


class Runtime(NamedTuple):
    """A runtime program: its absolute path and its kind, ``crun`` or ``runc``."""

    path: str
    kind: str


def locate_runtime() -> Runtime:
    """The runtime to use.

    Raises:
        RuntimeMissingError: there is none.
    """
    for kind in ("crun", "runc"):
        path = find_executable(kind)
        if path:
            return Runtime(path, kind)
    raise RuntimeMissingError(
        "no OCI runtime is installed, and the native engine needs one",
        evidence="neither crun nor runc on PATH, nor in the system directories",
        remedy="sudo apt-get install crun",
    )


def runtime_options(runtime: Runtime, root: str, *, manages_cgroups: bool) -> tuple[str, ...]:
    """Global options of the runtime, to stand before the subcommand."""
    if runtime.kind == "runc":
        return ("--root", root)
    manager = "cgroupfs" if manages_cgroups else "disabled"
    return ("--root", root, f"--cgroup-manager={manager}")


def explain_failure(runtime: Runtime, log: str, command: str) -> ContainerStartError | None:
    """The refusal that the runtime's own log tells of; None when it logged no error.

    Args:
        runtime: who wrote the log.
        log: its text.
        command: the container's program, as the user or the image named it.
    """
    lines = [line for line in map(_message, log.splitlines()) if line]
    if not lines:
        return None
    said = lines[-1]
    lowered = said.lower()
    about_command = any(word in lowered for word in _COMMAND_CONTEXT)
    if about_command and any(word in lowered for word in _NOT_FOUND):
        error = ContainerStartError(
            f"the image has no program {command!r}",
            evidence=said,
            remedy="name one that is in the image's PATH, or by its absolute path",
        )
        error.exit_code = EXIT_NOT_FOUND
    elif about_command and any(word in lowered for word in _NOT_EXECUTABLE):
        error = ContainerStartError(
            f"{command!r} cannot be executed",
            evidence=said,
            remedy="check its mode bits and that it is built for this machine",
        )
        error.exit_code = EXIT_NOT_EXECUTABLE
    else:
        error = ContainerStartError(f"{runtime.kind} could not start the container", evidence=said)
        error.exit_code = EXIT_OURS
    return error


def _message(line: str) -> str:
    """The message of a log line: crun's text form has a time stamp, runc's is logfmt."""
    if 'msg="' in line:
        head, _, rest = line.partition('msg="')
        return rest.rstrip('"').replace('\\"', '"') if "level=error" in head else ""
    stamp, _, rest = line.partition("Z: ")
    return rest if stamp[:1].isdigit() else line
