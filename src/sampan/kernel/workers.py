"""Our own functions in worker processes, for work that holds the interpreter's lock.

Plain pipes and pickles instead of ``multiprocessing``: no resource tracker, no import of the
caller's main module, and a worker whose parent dies ends at its next word to it. Both ends are this
program, so the pickles are trusted.
"""

import contextlib
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from sampan.errors import SampanError
from sampan.kernel.libc import die_with_parent

Task = TypeVar("Task")
Result = TypeVar("Result")
Word = TypeVar("Word")

_PATIENCE_S = 5.0
"""How long all workers together may take to clean up after SIGTERM."""

_START = "import sys; sys.path[:0] = {path!r}; from sampan.kernel.workers import serve; serve()"


_LENGTH = struct.Struct("<Q")


class WorkerError(SampanError):
    """A worker process died without an answer."""

    id = "worker"


class _Worker(NamedTuple):
    """A worker process with the raw descriptors of its pipes (no buffer may hide from select)."""

    process: "subprocess.Popen[bytes]"
    requests: int
    answers: int


def run_tasks(
    function: Callable[[Task, Callable[[Word], None]], Result],
    tasks: Sequence[Task],
    *,
    processes: int,
    progress: Callable[[int, Word], None],
    finished: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """Run ``function(task, report)`` for every task, up to ``processes`` at a time.

    Args:
        function: of a module, so that a worker can import it. Tasks, results and exceptions are
            pickled. What it says through ``report`` arrives at ``progress(position, word)``.
        tasks: started in this order; the results come in this order.
        processes: at least 1.
        progress: called in this process.
        finished: called in this process with a task's position when its result has come.

    Raises:
        WorkerError: a worker died (killed, out of memory).
        Exception: the first exception of any task; the other workers are ended.
    """
    results: dict[int, Result] = {}
    waiting = list(enumerate(tasks))[::-1]
    workers: list[_Worker] = []
    with selectors.DefaultSelector() as selector:
        try:
            for _ in range(min(processes, len(tasks))):
                worker = _start_worker()
                workers.append(worker)
                _send(worker.requests, function)
                _send(worker.requests, waiting.pop())
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            while len(results) < len(tasks):
                for key, _ in selector.select():
                    worker = key.data
                    position, kind, value = _answer_of(worker)
                    if kind == "progress":
                        progress(position, value)
                        continue
                    if kind == "failure":
                        raise value
                    results[position] = value
                    finished(position)
                    if waiting:
                        _send(worker.requests, waiting.pop())
        finally:
            _end(workers)
    return [results[position] for position in range(len(tasks))]


def serve() -> None:
    """Be a worker: tasks on standard input, answers on standard output, until end of file."""
    # Ctrl-C goes to the whole terminal group; the parent decides. SIGTERM must unwind, so that
    # half-written files are removed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Who waits for the network says nothing for a while, and would not notice that nobody listens.
    with contextlib.suppress(OSError):
        die_with_parent(signal.SIGTERM)
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    speaking = threading.Lock()

    def answer(position: int, kind: str, value: object) -> None:
        with speaking:
            _send(answers, (position, kind, value))

    with contextlib.suppress(EOFError, BrokenPipeError):
        function = _receive(requests)
        while True:
            position, task = _receive(requests)
            try:
                result = function(task, lambda word, at=position: answer(at, "progress", word))
            except Exception as error:  # whatever it is, the parent must hear it
                answer(position, "failure", error)
            else:
                answer(position, "result", result)


def _start_worker() -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-c", _START.format(path=sys.path)],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    return _Worker(process, process.stdin.fileno(), process.stdout.fileno())


def _answer_of(worker: _Worker) -> tuple[int, str, Any]:
    try:
        message: tuple[int, str, Any] = _receive(worker.answers)
    except EOFError as error:
        code = worker.process.wait()
        raise WorkerError(
            "a worker process ended before its work was done",
            evidence=f"killed by signal {-code}" if code < 0 else f"exit code {code}",
            remedy="out of memory? dmesg | tail shows it" if code == -signal.SIGKILL else "",
        ) from error
    return message


def _send(descriptor: int, message: object) -> None:
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    rest = memoryview(_LENGTH.pack(len(content)) + content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _receive(descriptor: int) -> Any:
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    return pickle.loads(_read(descriptor, length))  # noqa: S301 - from our own process


def _read(descriptor: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    # One deadline for all, not one each.
    deadline = time.monotonic() + _PATIENCE_S
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
        # Closes both pipes.
        with worker.process:
            pass
