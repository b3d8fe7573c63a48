"""Every helper program starts here: an argument list, never a shell; a failure prints what to paste.

Container start-up does not go through this module (it execs directly, see ``engines/native``), so
it may import ``subprocess``.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence

from sampan.errors import SampanError


class ProgramError(SampanError):
    """A helper program ended with an error, or does not exist."""

    id = "program"


def run_program(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    check: bool = True,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end with captured output.

    Raises:
        ProgramError: it cannot be started, does not end in time and is killed, or (with ``check``)
            exits with an error.
    """
    try:
        done = subprocess.run(
            list(arguments),
            env=None if environment is None else dict(environment),
            input=stdin or b"",
            capture_output=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(
            f"{arguments[0]} does not end",
            evidence=f"killed after {error.timeout:.0f} s: {shlex.join(arguments)}",
        ) from None
    except OSError as error:
        raise ProgramError(
            f"cannot start {arguments[0]}", evidence=f"{error.strerror}: {shlex.join(arguments)}"
        ) from error
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ProgramError(
            f"{arguments[0]} failed with exit code {done.returncode}",
            evidence=f"{' | '.join(said[-3:]) or 'it printed nothing'} ({shlex.join(arguments)})",
        )
    return done


def run_attached(arguments: Sequence[str]) -> int:
    """Run a program on our terminal; its standard output goes to our standard error.

    Returns:
        Its exit code, of a signal 128 and its number.

    Raises:
        ProgramError: it cannot be started.
    """
    try:
        code = subprocess.run(list(arguments), stdin=subprocess.DEVNULL, stdout=2).returncode
    except OSError as error:
        raise ProgramError(
            f"cannot start {arguments[0]}", evidence=f"{error.strerror}: {shlex.join(arguments)}"
        ) from error
    return code if code >= 0 else 128 - code
