"""Asking docker and podman by their command lines: programs, images, pulling."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.engines.protocol import EngineUnavailableError
from sampan.kernel.bounded_program import ProgramAnswer, ask_program
from sampan.kernel.process import run_attached
from sampan.kernel.programs import find_executable

PATIENCE_S = 60.0
"""A daemon that starts by its socket may need a while."""


def locate_program(name: str, remedy: str) -> str:
    """Absolute path of an engine's program.

    Raises:
        EngineUnavailableError: it is not installed.
    """
    path = find_executable(name)
    if not path:
        raise EngineUnavailableError(
            f"there is no program {name}",
            evidence="neither on PATH nor in the system directories",
            remedy=f"{remedy}    or leave --engine away",
        )
    return path


def ask_json(arguments: Sequence[str], member: str, remedy: str) -> dict[str, Any]:
    """What a program prints as one JSON object, which has a member that says something.

    Raises:
        EngineUnavailableError: it prints none, or one without; with what it said besides.
    """
    answer = ask_program(arguments, timeout_s=PATIENCE_S)
    said = parse_object(answer.output)
    if said is None or not said.get(member):
        # Older docker clients tell errors of the daemon here only.
        errors = (said or {}).get("ServerErrors")
        told = str(errors[0]) if isinstance(errors, list) and errors else ""
        raise unavailable(arguments, answer.said or told, remedy)
    return said


def unavailable(arguments: Sequence[str], said: str, remedy: str) -> EngineUnavailableError:
    """The refusal for an engine that does not answer."""
    return EngineUnavailableError(
        f"{os.path.basename(arguments[0])} does not answer",
        evidence=said.splitlines()[-1] if said else f"{' '.join(arguments[:2])} printed nothing",
        remedy=remedy,
    )


def parse_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for everything else."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def ask_image(command: Sequence[str], image: str, remedy: str) -> Mapping[str, str] | None:
    """ENV of an image; None when the engine does not have it.

    Raises:
        EngineUnavailableError: it does not answer.
    """
    words = [*command, "image", "inspect", "--format", "{{json .Config}}", image]
    answer = ask_program(words, timeout_s=PATIENCE_S)
    if answer.code == 0:
        return read_environment(parse_object(answer.output) or {})
    if _says_absent(answer):
        return None
    raise unavailable(words, answer.said, remedy)


def _says_absent(answer: ProgramAnswer) -> bool:
    said = answer.said.lower()
    return answer.code is not None and ("no such image" in said or "not known" in said)


def read_environment(config: Mapping[str, Any]) -> dict[str, str]:
    """The variables of an image configuration as the engines print it."""
    lines = config.get("Env")
    pairs = [line.partition("=") for line in lines if isinstance(line, str)] if isinstance(lines, list) else []  # fmt: skip
    return {name: value for name, _, value in pairs}


def pull_image(command: Sequence[str], image: str, platform: str) -> int:
    """Have the engine fetch an image; its progress goes to standard error. Return its exit code."""
    words = [*command, "pull", *(["--platform", platform] if platform else []), image]
    return run_attached(words)
