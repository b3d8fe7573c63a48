"""The machine that ``sampan configure`` runs on, and our runtime on it."""

import os
from collections.abc import Sequence

from sampan.engines.configure.plan import Machine
from sampan.errors import SampanError
from sampan.kernel.bounded_program import ProgramAnswer, ask_program
from sampan.kernel.programs import find_executable
from sampan.kernel.trust import who_may_change
from sampan.model.inventory import Inventory

RUNTIME = "sampan-runtime"
PLACES = "/usr/local/bin:/usr/bin:/opt/sampan/bin"
TIMEOUT_S = 60.0


class RuntimeProgramError(SampanError):
    """The runtime that the engine shall start is not there, or not ours alone."""

    id = "runtime-program"


def this_machine() -> Machine:
    """The machine as it is."""
    return Machine(os.environ, os.geteuid() == 0, find_executable, _ask, _inventory)


def locate_runtime(path: str = "") -> str:
    """Absolute path of our runtime.

    Args:
        path: what the user named; empty = where ``sampan install`` puts it, else PATH.

    Raises:
        RuntimeProgramError: it is no program, or another user may change it: the engine runs it, as
            root perhaps.
    """
    found = path or find_executable(RUNTIME, PLACES) or find_executable(RUNTIME)
    if not found:
        raise RuntimeProgramError(
            f"{RUNTIME} is not installed", evidence=f"it is not in {PLACES} nor on PATH",
            remedy="sudo sampan install, or name it: --runtime-path FILE",
        )  # fmt: skip
    if not os.path.isabs(found) or not find_executable(found):
        raise RuntimeProgramError(
            f"{found} is no runtime",
            evidence="an absolute path of a program is needed: every container would fail",
            remedy="sudo sampan install",
        )
    reason = who_may_change(found)
    if reason:
        raise RuntimeProgramError(
            f"{found} is not safe as a runtime", evidence=reason,
            remedy="install it where only its owner writes: sudo sampan install",
        )  # fmt: skip
    return found


def _ask(arguments: Sequence[str]) -> ProgramAnswer:
    return ask_program(arguments, timeout_s=TIMEOUT_S)


def _inventory() -> Inventory:
    from sampan.driver.inventory import take_inventory

    return take_inventory("/", "/")
