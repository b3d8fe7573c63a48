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

from sampan.dropin.bundle import BundleError, read_config, replace_config
from sampan.dropin.call import EDITED, Call, parse_call
from sampan.dropin.edits import apply_fragment, remove_edits, remove_old_hooks
from sampan.dropin.plans import (
    in_user_namespace,
    load_plan,
    locate_directory,
    locate_plan,
    make_key,
)
from sampan.dropin.quick_json import decode, encode
from sampan.dropin.settings import SettingsError, load_settings
from sampan.dropin.wish import may_ask, read_wish
from sampan.kernel.programs import find_executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

PLANNER = "sampan-planner"
PLANNER_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Refusal(Exception):  # noqa: N818 - it is what the container's user reads
    """The container must not start: what failed, the evidence, the remedy."""

    def __init__(self, kind: str, cause: str, evidence: str = "", remedy: str = "") -> None:
        super().__init__(cause)
        self.kind, self.cause, self.evidence, self.remedy = kind, cause, evidence, remedy

    def lines(self) -> list[str]:
        """As ``sampan`` prints a refusal."""
        lines = [f"error[{self.kind}]: {self.cause}"]
        if self.evidence:
            lines.append(f"  evidence: {self.evidence}")
        if self.remedy:
            lines.append(f"  remedy:   {self.remedy}")
        return lines


def program(home: str) -> NoReturn:
    """Be the runtime: edit, then become the real one.

    Args:
        home: the directory that ``sampan install`` has made, with the planner in it.
    """
    words = sys.argv[1:]
    call = parse_call(words)
    try:
        system = os.geteuid() == 0 and not in_user_namespace()
        cache = locate_directory(os.environ, system=system)
        settings = load_settings(os.environ, cache)
        low_level = find_runtime(settings["runtimes"], sys.argv[0])
        if call.subcommand in EDITED:
            settings["hook"] = f"{home}/sampan-hook"
            settings["rootless"] = not system
            for text in edit_bundle(call.config, settings, cache, ask_planner(f"{home}/{PLANNER}")):
                _print([f"warning: {text}"])
    except (BundleError, SettingsError) as error:
        _refuse(call, Refusal("runtime", str(error)))
    except Refusal as refusal:
        _refuse(call, refusal)
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


def edit_bundle(
    path: str,
    settings: dict[str, Any],
    cache: str,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[str]:
    """Edit a container's configuration if it asks for the driver; return warnings.

    Args:
        path: of the configuration.
        settings: from ``load_settings``, and of this installation ``hook`` and ``rootless``.
        cache: directory of plans; empty = none.
        ask: answers a wish with a plan.

    Raises:
        BundleError: the file cannot be read or written.
        Refusal: what was asked for cannot be given.
    """
    content, status = read_config(path)
    if not may_ask(content, settings):
        return []
    try:
        config = decode(content)
        if not isinstance(config, dict):
            raise BundleError(f"{path} holds no JSON object")
        edited = remove_edits(config)
        wish = read_wish(config, settings)
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise BundleError(f"{path} is no configuration of a container: {error}") from error
    plan = find_plan(wish, settings, cache, ask) if wish else {}
    fragment = plan.get("fragment")
    if fragment:
        try:
            remove_old_hooks(config)
            apply_fragment(config, fragment)
        except (ValueError, AttributeError, TypeError, LookupError) as error:
            raise BundleError(f"{path} is no configuration of a container: {error}") from error
    if fragment or edited:
        changed = encode(config)
        if changed != content:
            replace_config(path, changed, status)
    warnings: list[str] = plan.get("warnings", [])
    return warnings


def find_plan(
    wish: dict[str, Any],
    settings: dict[str, Any],
    cache: str,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """The plan for a wish: the kept one while it holds, else what ``ask`` answers.

    Raises:
        Refusal: what was asked for cannot be given.
    """
    key = make_key(wish, settings, os.path.dirname(__file__))
    path = locate_plan(cache, key)
    plan = load_plan(path, key) if path else None
    if plan is None:
        plan = ask(
            {
                "wish": wish,
                "settings": settings,
                "key": key.decode(),
                "path": path,
                "cache": cache,
            }
        )
    return plan


def ask_planner(planner: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that has the program ``planner`` answer a message."""

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        # A process of its own: it loads NVML's binding and much else that has no place here.
        from sampan.errors import SampanError
        from sampan.kernel.process import run_program

        try:
            done = run_program(
                [planner], environment=PLANNER_ENVIRONMENT, stdin=encode(message), check=False
            )
        except SampanError as error:
            raise Refusal(
                "runtime", error.cause, error.evidence, "sudo sampan install    puts it back"
            ) from error
        try:
            answer: dict[str, Any] = decode(done.stdout)
        except (ValueError, UnicodeDecodeError):
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise Refusal(
                "runtime",
                f"{planner} gave no answer (exit code {done.returncode})",
                said[-1] if said else "it printed nothing",
                "sudo sampan install    puts it back",
            ) from None
        if "error" in answer:
            raise Refusal(*answer["error"])
        return answer

    return ask


def _refuse(call: Call, refusal: Refusal) -> NoReturn:
    """Say it on standard error and in the log that the engine reads, and end."""
    _print(refusal.lines())
    if call.log:
        message = "; ".join(line.strip() for line in refusal.lines())
        _log(call, f"sampan-runtime: {message}")
    os._exit(1)


def _log(call: Call, message: str) -> None:
    import time

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
    text = "".join(f"sampan-runtime: {line}\n" for line in lines)
    os.write(2, text.encode("utf-8", "backslashreplace"))
