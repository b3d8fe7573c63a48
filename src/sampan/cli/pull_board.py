"""The state of a pull as its pictures show it: layers, rates, time left, what holds it up.

Fed with what the importer tells; drawn by ``pull_progress``. No terminal here.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from sampan.engines.preflight import PullPlan
from sampan.images.layer_packing import ImportEvent

_RATE_S = 5.0
"""Seconds over which a rate is taken."""


class LayerState(NamedTuple):
    """A layer now.

    Attributes:
        stage: ``queue`` (nobody works on it yet), ``wait`` (another process does), ``fetch``,
            ``pack``, ``done``, ``here`` (nothing was to be done).
        limit: ``network``, ``cpu``, ``disk``, or empty.
        rate: bytes a second.
    """

    label: str
    stage: str
    done: int
    total: int
    limit: str
    rate: float


class Overall(NamedTuple):
    """All layers that are to be fetched, together.

    Attributes:
        stage: ``fetch`` or ``link``.
        seconds_left: of the fetch; None when not known.
    """

    stage: str
    done: int
    total: int
    limit: str
    rate: float
    seconds_left: float | None


class _Rate:
    """Bytes a second over the last moments."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> None:
        if self._samples and done < self._samples[-1][1]:
            # Begun anew: another process has died, we took over.
            self._samples.clear()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_S:
            self._samples.popleft()

    def read(self, now: float) -> float:
        if len(self._samples) < 2:
            return 0.0
        (since, before), (_, done) = self._samples[0], self._samples[-1]
        return (done - before) / max(now - since, 0.1)


class PullBoard:
    """What is known of one pull."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._layers: dict[str, LayerState] = {}
        self._rates: dict[str, _Rate] = {}
        self._all = _Rate()
        self._stage = "fetch"

    def plan(self, plan: PullPlan) -> None:
        """Take in what is to be done."""
        for layer, planned in zip(plan.remote.source.layers, plan.each, strict=True):
            here = bool(planned.found_by) or plan.is_linked
            stage = "here" if here else "queue"
            self._layers[layer.label] = LayerState(layer.label, stage, 0, layer.size, "", 0.0)
        self._all.add(self._clock(), 0)

    def hear(self, event: ImportEvent) -> None:
        """Take in what happened."""
        if event.kind == "link":
            self._stage = "link"
        stages = {"layer": event.stage or "fetch", "packed": "done", "present": "here"}
        if event.kind not in stages:
            return
        known = self._layers.get(event.text)
        stage, now = stages[event.kind], self._clock()
        done = event.done
        if stage in ("done", "here"):
            done = event.total or (known.total if known else 0)
        rate = self._rates.setdefault(event.text, _Rate())
        rate.add(now, done)
        total = event.total or (known.total if known else 0)
        self._layers[event.text] = LayerState(
            event.text, stage, done, total, event.limit, rate.read(now)
        )
        self._all.add(now, self._sum_done())

    def layers(self) -> list[LayerState]:
        """All layers, lowest first."""
        now = self._clock()
        return [
            state._replace(rate=self._rates[label].read(now)) if label in self._rates else state
            for label, state in list(self._layers.items())
        ]

    def overall(self) -> Overall:
        """All of it."""
        fetched = [state for state in list(self._layers.values()) if state.stage != "here"]
        done, total = self._sum_done(), sum(state.total for state in fetched)
        rate = self._all.read(self._clock())
        limits = Counter(state.limit for state in fetched if state.limit and state.stage != "done")
        return Overall(
            self._stage,
            done,
            total,
            limits.most_common(1)[0][0] if limits else "",
            rate,
            (total - done) / rate if rate > 0 else None,
        )

    def _sum_done(self) -> int:
        return sum(s.done for s in list(self._layers.values()) if s.stage != "here")
