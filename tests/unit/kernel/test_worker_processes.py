"""Functions in worker processes: results in order, errors, death of either side."""

import os
import select
import signal
import subprocess
import sys

import pytest

from sampan.errors import UsageError
from sampan.kernel.workers import WorkerError, run_tasks
from support.worker_functions import die, double, refuse


def test_results_come_in_the_order_of_the_tasks() -> None:
    heard: list[tuple[int, int]] = []
    results = run_tasks(
        double, list(range(7)), processes=3, progress=lambda *words: heard.append(words)
    )
    assert results == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(heard) == [(number, number) for number in range(7)]


def test_big_tasks_and_results_pass_whole() -> None:
    (result,) = run_tasks(double, [b"x" * 3_000_000], processes=1, progress=lambda *_: None)
    assert len(result) == 6_000_000


def test_an_error_keeps_its_parts_and_ends_the_other_workers() -> None:
    with pytest.raises(UsageError) as caught:
        run_tasks(refuse, ["a", "b"], processes=2, progress=lambda *_: None)
    assert caught.value.evidence == "evidence"
    assert caught.value.remedy == "remedy"


def test_a_killed_worker_is_an_error_that_says_so() -> None:
    with pytest.raises(WorkerError) as caught:
        run_tasks(die, [signal.SIGKILL], processes=1, progress=lambda *_: None)
    assert caught.value.evidence == "killed by signal 9"
    assert "memory" in caught.value.remedy


def test_a_worker_ends_when_its_parent_is_killed() -> None:
    code = (
        "from sampan.kernel.workers import run_tasks\n"
        "from support.worker_functions import report_forever\n"
        "run_tasks(report_forever, [0], processes=1, progress=lambda _, n: print(n, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        handle = os.pidfd_open(worker)
        parent.kill()
    try:
        # The pidfd becomes readable when the worker has ended; a hang fails by the test's timeout.
        assert select.select([handle], [], [], 60)[0] == [handle]
    finally:
        os.close(handle)
