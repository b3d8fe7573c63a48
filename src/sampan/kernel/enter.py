"""Going into the namespaces of a process that lives: setns(2) and the fork that pid ones need."""

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from sampan.kernel import libc

_LAST_DESCRIPTOR = 1 << 16


def join(pid: int, kinds: int) -> None:
    """Enter the namespaces of ``pid``; a pid namespace counts from the next fork on.

    With the user namespace come all rights in it. Where ``pid`` is in ours, that one is left out
    of ``kinds``, for the kernel refuses to join what one is in already.

    Raises:
        ProcessLookupError: there is no such process.
        OSError: setns(2) refuses.
    """
    if _same_namespace(pid, "user"):
        kinds &= ~libc.CLONE_NEWUSER
    pidfd = os.pidfd_open(pid)
    try:
        libc.setns(pidfd, kinds)
    finally:
        os.close(pidfd)


def run_inside(
    pid: int, kinds: int, program: Callable[[], list[str]], *, descriptors: dict[int, int]
) -> int:
    """Run a program in the namespaces of ``pid`` to its end; return its exit code.

    Args:
        pid: whose namespaces.
        kinds: CLONE_NEW… flags.
        program: called inside, may prepare things there; gives the argument list to exec.
        descriptors: what the program gets as descriptors 0, 1 and 2.

    Raises:
        OSError: the namespaces cannot be joined, e.g. since the process has just ended.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_and_exit(pid, kinds, program, descriptors, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        failure = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if failure:
        number, _, text = failure.decode(errors="replace").partition(" ")
        raise OSError(int(number), text)
    return 128 - code if code < 0 else code


def start_guarded(
    pid: int, kinds: int, program: Callable[[], list[str]], *, descriptors: dict[int, int]
) -> int:
    """Start a program in the namespaces of ``pid`` that goes on; return its guardian's pid.

    The guardian, a child of ours outside of the pid namespace, is the program's parent. Without it
    the program would become a child of the namespace's pid 1, and crun as pid 1 does not end before
    all its children have. It ends as the program does; the program dies with the guardian, and
    with the namespace. Keys of our terminal reach neither.

    Args:
        pid: whose namespaces.
        kinds: CLONE_NEW… flags.
        program: called inside, may prepare things there; gives the argument list to exec.
        descriptors: what the program gets as descriptors 0, 1 and 2; others are closed.
    """
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        for number, descriptor in descriptors.items():
            os.dup2(descriptor, number)
        # Whoever waits for the end of a pipe of our parent's must not wait for us.
        os.closerange(3, _LAST_DESCRIPTOR)
        join(pid, kinds)
        child = os.fork()
        if child:
            exit_as(child)
        libc.die_with_parent()
        words = program()
        reset_signals()
        os.execv(words[0], words)  # noqa: S606 - an argument list
    except OSError as error:
        os.write(2, f"{error.strerror}: {error.filename}\n".encode())
    finally:
        os._exit(127)


def exit_as(child: int) -> NoReturn:
    """Wait for a child and end this process the way it ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(128 - code if code < 0 else code)


def reset_signals() -> None:
    """Undo, before an exec, what Python and our own waiting did to this process's signals.

    A program started with a signal ignored or blocked keeps it so; pasta even refuses to start.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _run_and_exit(
    pid: int,
    kinds: int,
    program: Callable[[], list[str]],
    descriptors: dict[int, int],
    failure: int,
) -> NoReturn:
    try:
        join(pid, kinds)
        child = os.fork()
        if child:
            os.close(failure)
            exit_as(child)
        for number, descriptor in descriptors.items():
            os.dup2(descriptor, number)
        words = program()
        reset_signals()
        os.execv(words[0], words)  # noqa: S606 - an argument list
    except OSError as error:
        os.write(failure, f"{error.errno} {error.strerror}".encode())
    finally:
        os._exit(127)


def _same_namespace(pid: int, kind: str) -> bool:
    own = os.stat(f"/proc/self/ns/{kind}")
    try:
        other = os.stat(f"/proc/{pid}/ns/{kind}")
    except FileNotFoundError as error:
        raise ProcessLookupError(3, "no such process", str(pid)) from error
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
