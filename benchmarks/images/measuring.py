"""One command measured: wall, CPU of the whole tree, peak memory of the tree, temporary disk."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_INTERVAL_S = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Measure(NamedTuple):
    """What a command cost: seconds, and bytes."""

    wall: float
    cpu: float
    peak: int
    temporary: int
    stays: int


def measure(command: Sequence[str], *, environment: Mapping[str, str], disk: Path) -> Measure:
    """Run a command to its end; a failure ends the benchmark with what it printed."""
    os.sync()
    before = _used(disk)
    started = time.monotonic()
    # A session of its own, so that all its descendants are found.
    process = subprocess.Popen(
        list(command),
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    sampler = _Sampler(process.pid, disk)
    sampler.start()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    sampler.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)}: exit code {process.returncode}\n{said.decode(errors='replace')}"
        )
    os.sync()
    after = _used(disk)
    return Measure(
        wall,
        usage.ru_utime + usage.ru_stime,
        max(sampler.peak, usage.ru_maxrss * 1024),
        max(0, sampler.most_used - max(before, after)),
        after - before,
    )


class _Sampler(threading.Thread):
    def __init__(self, session: int, disk: Path) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._disk = disk
        self._ended = threading.Event()
        self.peak = 0
        self.most_used = 0

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self.peak = max(self.peak, _memory(self._session))
            self.most_used = max(self.most_used, _used(self._disk))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _memory(session: int) -> int:
    """Resident bytes of all processes of a session; shared pages count for each."""
    pages = 0
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError, IndexError):
            stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            if int(stat[3]) == session:
                pages += int(stat[21])
    return pages * _PAGE


def _used(disk: Path) -> int:
    state = os.statvfs(disk)
    return (state.f_blocks - state.f_bfree) * state.f_frsize
