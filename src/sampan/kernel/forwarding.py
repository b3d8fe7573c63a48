"""Waiting for a child while passing on the signals that are meant for it."""

import contextlib
import os
import signal
from collections.abc import Callable

TERMINAL_SIGNALS = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2))  # fmt: skip
_SENT_BY_KERNEL = 0x80  # SI_KERNEL: the terminal, whose whole process group has it already


def wait_forwarding(child: int, *, resize: Callable[[], object] | None = None) -> int:
    """Wait for ``child``, sending it what is sent to us; return its exit code (128 + signal).

    Keys of a terminal are not passed on: the child, in our process group, has had them.

    Args:
        child: a child of ours.
        resize: called when our terminal has got another size.
    """
    waited = TERMINAL_SIGNALS | {signal.SIGCHLD, signal.SIGWINCH}
    # Blocked before the first look, or the child's end could slip between look and wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        taken = signal.sigwaitinfo(waited)
        if taken.si_signo == signal.SIGWINCH:
            if resize is not None:
                resize()
        elif taken.si_signo != signal.SIGCHLD and taken.si_code != _SENT_BY_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, taken.si_signo)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
