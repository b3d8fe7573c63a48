"""How far a layer is and what holds it up: network, cpu or disk.

The thread that reads the stream either waits for the network or works. When it hardly waits, the
threads of this process either compute (or queue for a core), or wait for the disk.
"""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from sampan.kernel.thread_times import busy_seconds

_REPORTED_S = 0.1
_JUDGED_S = 0.5
_WAITING_SHARE = 0.5


class LayerProgress(NamedTuple):
    """A word from who packs a layer.

    Attributes:
        done: bytes of its stream that were read.
        stage: ``wait`` (another process works on it, ``done`` is that one's), ``fetch`` (its bytes
            are read, inflated and packed as they come), ``pack`` (all are read).
        limit: what holds it up: ``network``, ``cpu``, ``disk``; empty when not known.
    """

    done: int
    stage: str
    limit: str = ""


class Waiter(Protocol):
    """A stream that knows how long it was waited for."""

    waited_s: float


class LayerMeter:
    """Turns "so many bytes were read" into reports, ten a second at the most."""

    def __init__(
        self,
        report: Callable[[LayerProgress], None],
        size: int,
        stream: Waiter | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = busy_seconds,
    ) -> None:
        """Begin to measure.

        Args:
            report: gets the reports.
            size: of the layer's stream; 0 when not known.
            stream: where the bytes come from over a network; None for a local one.
            clock: seconds.
            busy: seconds that this process's threads have computed or queued for a core.
        """
        self._report = report
        self._size = size
        self._stream = stream
        self._clock = clock
        self._busy = busy
        self._reported = float("-inf")
        self._judged = clock()
        self._waited_s = 0.0
        self._busy_s = busy()
        self._limit = ""

    def __call__(self, done: int) -> None:
        """Hear how much of the stream was read."""
        now = self._clock()
        is_read = bool(self._size) and done >= self._size
        if now - self._reported < _REPORTED_S and not is_read:
            return
        self._reported = now
        if now - self._judged >= _JUDGED_S:
            self._judge(now)
        stage = "pack" if is_read else "fetch"
        limit = "" if is_read and self._limit == "network" else self._limit
        self._report(LayerProgress(done, stage, limit))

    def _judge(self, now: float) -> None:
        waited_s = self._stream.waited_s if self._stream is not None else 0.0
        busy_s = self._busy()
        elapsed = now - self._judged
        if (waited_s - self._waited_s) / elapsed > _WAITING_SHARE:
            self._limit = "network"
        else:
            self._limit = "cpu" if (busy_s - self._busy_s) / elapsed > _WAITING_SHARE else "disk"
        self._judged, self._waited_s, self._busy_s = now, waited_s, busy_s
