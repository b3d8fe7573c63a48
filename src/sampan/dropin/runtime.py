"""``sampan-runtime``: stands before runc or crun, and gives containers that ask for it the driver.

``create`` and ``run`` have the bundle's ``config.json`` edited first; every other call goes on
untouched, and so does a container that asks for nothing. The request is read as NVIDIA's runtime
reads it (annotations, mounts, variables: ``gpus.container_request``), by the settings of NVIDIA's own
file. Nothing of the host is looked for here: the plan for the same words is read from one file while
its marks hold, else the planner makes it (``engines.foreign_container``, another process).

What is imported on this path is counted in milliseconds of every container's start: no ``typing``, no
``json``, no ``re``.
"""

from __future__ import annotations

import os
import sys

from sampan.dropin.call import EDITED, Call, parse_call
from sampan.dropin.places import in_user_namespace, locate_directory
from sampan.dropin.refusal import Refusal, printable
from sampan.dropin.settings import SettingsError, load_settings, locate_config
from sampan.kernel.programs import find_executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PLANNER, RUNTIME = "sampan-planner", "sampan-runtime"
PASSED = "SAMPAN_RUNTIME"
"""Variable with the process that has been here: becoming another program keeps its number."""
KEPT = "low-level"
"""In the directory of plans: the configuration's path and the real runtime's, a line each."""


def program(home: str) -> NoReturn:
    """Be the runtime: edit, then become the real one.

    Args:
        home: the directory that ``sampan install`` has made, with the planner in it.
    """
    words = sys.argv[1:]
    call = parse_call(words)
    try:
        if os.environ.get(PASSED) == str(os.getpid()):
            raise Refusal(
                "runtime-missing",
                "the OCI runtime to hand the container to leads back to sampan-runtime",
                "a program of its name starts us again",
                "name the real one by its path: nvidia-container-runtime.runtimes in config.toml",
            )
        system = os.geteuid() == 0 and not in_user_namespace()
        cache = locate_directory(os.environ, system=system)
        settings = load_settings(os.environ, cache)
        low_level = find_runtime(settings["runtimes"], f"{home}/{RUNTIME}")
        if call.subcommand in EDITED:
            _edit(call, home, settings, cache, system=system)
            if system and cache:
                _keep_runtime(cache, locate_config(os.environ), low_level)
    except SettingsError as error:
        _refuse(call, Refusal("runtime", str(error)))
    except Refusal as refusal:
        _refuse(call, refusal)
    os.environ[PASSED] = str(os.getpid())
    os.execv(low_level, [low_level, *words])  # noqa: S606 - that is what a wrapper is for


def find_runtime(names: list[str], own: str) -> str:
    """The first of the configured runtimes that is there and is not this program under another name.

    Raises:
        Refusal: there is none.
    """
    for name in names:
        path = find_executable(name)
        try:
            if path and not os.path.samefile(path, own):
                return path
        except OSError:
            return path
    raise Refusal(
        "runtime-missing",
        "no OCI runtime is installed to hand the container to",
        f"none of {', '.join(names)} on PATH, nor in the system directories",
        "sudo apt-get install crun",
    )


def _edit(call: Call, home: str, settings: dict[str, Any], cache: str, *, system: bool) -> None:
    # Every other call goes on without these modules.
    from sampan.dropin.bundle import BundleError
    from sampan.dropin.editing import ask_planner, edit_bundle

    settings["hook"] = f"{home}/sampan-hook"
    settings["rootless"] = not system
    try:
        for text in edit_bundle(call.config, settings, cache, ask_planner(f"{home}/{PLANNER}")):
            _print([f"warning: {text}"])
    except BundleError as error:
        raise Refusal("runtime", str(error)) from error


def _keep_runtime(cache: str, config: str, low_level: str) -> None:
    """For the shell that other calls come to, which reads no configuration (``install``)."""
    path = f"{cache}/{KEPT}"
    line = f"{config}\n{low_level}\n".encode()
    try:
        with open(path, "rb") as stream:
            if stream.read(8192) == line and os.stat(path).st_mtime_ns > _modified(config):
                return
    except OSError:
        pass
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "xb") as stream:
            stream.write(line)
        os.rename(temporary, path)
    except OSError:
        # The others find it themselves.
        return


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _refuse(call: Call, refusal: Refusal) -> NoReturn:
    """Say it on standard error and in the log that the engine reads, and end."""
    _print(refusal.lines())
    if call.log:
        message = "; ".join(line.strip() for line in refusal.lines())
        _log(call, f"sampan-runtime: {message}")
    os._exit(1)


def _log(call: Call, message: str) -> None:
    import time

    from sampan.dropin.quick_json import encode

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if call.log_format == "json":
        line = encode({"level": "error", "msg": message, "time": now})
    else:
        line = b'time="%s" level=error msg=%s' % (now.encode(), encode(message))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(call.log, flags, 0o644)
        try:
            os.write(descriptor, line + b"\n")
        finally:
            os.close(descriptor)
    except OSError:
        # Standard error has it.
        return


def _print(lines: list[str]) -> None:
    text = "".join(f"sampan-runtime: {printable(line)}\n" for line in lines)
    os.write(2, text.encode("utf-8", "backslashreplace"))
