"""A foreign program that must not keep us: it has a time, an own process group, and no terminal.

``process.run_program`` is for our own helpers, which are waited for. Programs that only tell us
something, and talk to daemons that may hang, start here.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import NamedTuple, Self

MAXIMUM_OUTPUT_BYTES = 8 << 20


class ProgramAnswer(NamedTuple):
    """How a program ended.

    Attributes:
        code: exit code, negative for a signal; None when it was not started or ran out of time.
        output: standard output, at most MAXIMUM_OUTPUT_BYTES.
        said: the end of standard error; or why there is no exit code.
    """

    code: int | None
    output: str
    said: str


def ask_program(arguments: Sequence[str], *, timeout_s: float) -> ProgramAnswer:
    """Run a program and return what it said; never raises for what the program does.

    Its output goes into memory files, not pipes: a grandchild that keeps a pipe open would keep us.

    Args:
        arguments: absolute path of the program, and its words.
        timeout_s: seconds after which its whole process group is killed.
    """
    with _memory_file() as output, _memory_file() as said:
        try:
            child = subprocess.Popen(
                list(arguments),
                stdin=subprocess.DEVNULL,
                stdout=output.descriptor,
                stderr=said.descriptor,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            return ProgramAnswer(None, "", f"cannot start: {error.strerror}")
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(child)
            return ProgramAnswer(None, output.text(), f"no answer in {timeout_s:g} s")
        return ProgramAnswer(code, output.text(), said.text()[-2000:].strip())


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except OSError:
        child.kill()
    try:
        # One that sits in an uninterruptible call cannot be reaped now; it is init's then.
        child.wait(1.0)
    except subprocess.TimeoutExpired:
        child.returncode = -signal.SIGKILL


class _memory_file:  # noqa: N801 - used as a function
    """An unnamed file in memory, closed at the end of a ``with``."""

    def __enter__(self) -> Self:
        self.descriptor = os.memfd_create("output", os.MFD_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def text(self) -> str:
        """Its content from the beginning."""
        content = os.pread(self.descriptor, MAXIMUM_OUTPUT_BYTES, 0)
        return content.decode(errors="replace")
