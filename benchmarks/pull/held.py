"""A command measured inside an environment that is ready before the clock starts.

A chroot or a docker daemon takes a while to come up; that is nobody's pull. So a shell is started
there, says that it is ready, runs the command when told, and waits while the figures are read. They
are those of its whole tree, a daemon beside it included: differences of what /proc counts.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

_INTERVAL_S = 0.1
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_HOLD = 'echo ready; read -r _; code=0; "$@" >&2 || code=$?; echo "$code"; read -r _ || true'


class Measure(NamedTuple):
    """What a command cost: seconds, and bytes.

    Attributes:
        wall: from its start to its end.
        cpu: of all processes of the tree, user and system.
        peak: the largest sum of proportional set sizes that was sampled.
        written: that its processes gave to file systems on disks (``write_bytes`` of /proc/PID/io).
        stays: on the disk afterwards, in the places that were named.
    """

    wall: float
    cpu: float
    peak: int
    written: int
    stays: int


class CommandFailedError(Exception):
    """The command or its environment ended with an error; the text is what it said."""


def measure(
    command: Sequence[str],
    *,
    outer: Sequence[str] = (),
    environment: Mapping[str, str],
    places: Sequence[Path],
) -> Measure:
    """Run a command to its end inside what ``outer`` makes around it.

    Raises:
        CommandFailedError: it did not succeed.
    """
    with tempfile.TemporaryFile() as said, _held(command, outer, environment, said) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise CommandFailedError(_last_words(said))
        os.sync()
        before = _spent(process.pid)
        sampler = _Sampler(process.pid)
        sampler.start()
        started = time.monotonic()
        process.stdin.write(b"\n")
        process.stdin.flush()
        code = process.stdout.readline()
        wall = time.monotonic() - started
        sampler.stop()
        after = _spent(process.pid)
        if code != b"0\n":
            raise CommandFailedError(_last_words(said))
        return Measure(
            wall, after[0] - before[0], sampler.peak, after[1] - before[1], _size(places)
        )


@contextlib.contextmanager
def _held(
    command: Sequence[str], outer: Sequence[str], environment: Mapping[str, str], said: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*outer, "sh", "-c", _HOLD, "held", *command],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.close()
        process.wait()


class _Sampler(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            self.peak = max(self.peak, sum(_memory(pid) for pid in _tree(self._pid)))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _tree(root: int) -> list[int]:
    """A process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _spent(root: int) -> tuple[float, int]:
    """Processor seconds and written bytes of a tree; the dead count through those who waited."""
    ticks = written = 0
    for pid in _tree(root):
        ticks += sum(int(one) for one in _stat(pid)[11:15])
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/io").read_text().splitlines()
            written += sum(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return ticks * _TICK_S, written


def _memory(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _size(places: Sequence[Path]) -> int:
    os.sync()
    done = subprocess.run(
        ["du", "-s", "-c", "--block-size=1", *map(str, places)], capture_output=True, text=True
    )
    return int(done.stdout.splitlines()[-1].split()[0])


def _last_words(said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    return "\n".join(lines[-15:]).strip()
