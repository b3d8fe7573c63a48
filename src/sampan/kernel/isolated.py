"""A function in a process of its own, for foreign code that may crash, hang, or leave threads."""

import os
import select
import signal
import time
import warnings
from collections.abc import Callable

from sampan.errors import SampanError

MAXIMUM_ANSWER_BYTES = 4 << 20


class IsolatedError(SampanError):
    """The process ended without an answer: crashed, timed out, or said too much."""

    id = "isolated-call"


def call_isolated(function: Callable[[], bytes], *, timeout_s: float) -> bytes:
    """Run ``function`` in a forked child with silent output and return its answer.

    Args:
        function: must not raise; an exception counts as a crash.
        timeout_s: seconds after which the child is killed.

    Raises:
        IsolatedError: no answer; the evidence says how the child ended.
        OSError: no process or pipe could be made.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with warnings.catch_warnings():
        # The child runs only ``function`` and ends by _exit; it takes no lock of other threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reading)
        _run_child(function, writing)
    os.close(writing)
    try:
        answer = _read_all(reading, time.monotonic() + timeout_s)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        # A child in an uninterruptible call of the driver cannot be reaped now; it is init's then.
        os.waitpid(child, os.WNOHANG)
        raise IsolatedError(
            "a call did not end", evidence=f"no answer in {timeout_s:g} s"
        ) from None
    finally:
        os.close(reading)
    _, status = os.waitpid(child, 0)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise IsolatedError("a call ended early", evidence=f"its process ended by {how}")
    return answer


def _run_child(function: Callable[[], bytes], writing: int) -> None:
    code = 1
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        answer = function()
        while answer:
            answer = answer[os.write(writing, answer) :]
        code = 0
    finally:
        os._exit(code)


def _read_all(descriptor: int, deadline: float) -> bytes:
    chunks: list[bytes] = []
    size = 0
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while size <= MAXIMUM_ANSWER_BYTES:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)
