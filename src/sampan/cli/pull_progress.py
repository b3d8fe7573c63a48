"""What a pull shows while it works: a live picture on a terminal, lines in a log, events as JSON."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from sampan.cli.humanize import human_size
from sampan.cli.import_progress import tell_warnings
from sampan.cli.pull_board import LayerState, Overall, PullBoard
from sampan.cli.pull_words import describe_plan, plan_document
from sampan.cli.render import printable
from sampan.engines.preflight import PullPlan
from sampan.images.layer_packing import ImportEvent, Tell

if TYPE_CHECKING:
    from rich.console import RenderableType

_LINE_EVERY_S = 5.0
_EVENT_EVERY_S = 0.5
_STAGES = {"queue": "waiting", "wait": "another process", "fetch": "fetching", "pack": "packing",
           "done": "done", "here": "already there"}  # fmt: skip
_LIMITS = {"network": "network", "cpu": "CPU", "disk": "disk", "": ""}


class Show(NamedTuple):
    """Who hears of a pull: once the plan, then what happens."""

    planned: Callable[[PullPlan], None]
    tell: Tell


@contextlib.contextmanager
def show_pull(form: str) -> Iterator[Show]:
    """The picture of a pull.

    Args:
        form: ``quiet``, ``json`` (events on standard output), ``live`` or ``lines``.
    """
    match form:
        case "quiet":
            yield Show(lambda _: None, tell_warnings)
        case "json":
            yield _Events().show()
        case "live":
            with _live() as show:
                yield show
        case _:
            yield _Lines().show()


class _Lines:
    """For logs: a line for each layer, and one every few seconds."""

    def __init__(self) -> None:
        self._board = PullBoard()
        self._said = time.monotonic()

    def show(self) -> Show:
        return Show(self._plan, self._tell)

    def _plan(self, plan: PullPlan) -> None:
        self._board.plan(plan)
        _say(describe_plan(plan))

    def _tell(self, event: ImportEvent) -> None:
        self._board.hear(event)
        match event.kind:
            case "packed":
                size = f" ({human_size(event.total)})" if event.total else ""
                _say(f"layer {event.text}: packed{size}")
            case "present":
                _say(f"layer {event.text}: already there")
            case "link":
                _say("linking the image")
            case "current":
                _say(f"{printable(event.text)}: up to date")
            case _:
                tell_warnings(event)
        now = time.monotonic()
        if event.kind == "layer" and now - self._said >= _LINE_EVERY_S:
            self._said = now
            _say(describe_overall(self._board.overall()))


class _Events:
    """For programs: one JSON object a line; docs/pull.md has the schema."""

    def __init__(self) -> None:
        self._board = PullBoard()
        self._said: dict[str, float] = {}

    def show(self) -> Show:
        return Show(self._plan, self._tell)

    def _plan(self, plan: PullPlan) -> None:
        self._board.plan(plan)
        _emit("plan", **plan_document(plan))

    def _tell(self, event: ImportEvent) -> None:
        self._board.hear(event)
        match event.kind:
            case "layer" | "packed" | "present":
                if event.kind != "layer" or self._is_due(event.text):
                    state = next(s for s in self._board.layers() if s.label == event.text)
                    _emit("layer", **_layer_document(state))
                if self._is_due(""):
                    _emit("progress", **_overall_document(self._board.overall()))
            case "link":
                _emit("link")
            case "current":
                _emit("current", name=event.text)
            case "warning":
                _emit("warning", text=event.text)

    def _is_due(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._said.get(what, float("-inf")) < _EVENT_EVERY_S:
            return False
        self._said[what] = now
        return True


def _layer_document(state: LayerState) -> dict[str, object]:
    document: dict[str, object] = state._asdict()
    document["layer"] = document.pop("label")
    return {**document, "rate": round(state.rate)}


def _overall_document(overall: Overall) -> dict[str, object]:
    left = overall.seconds_left
    document: dict[str, object] = overall._asdict()
    return {
        **document,
        "rate": round(overall.rate),
        "seconds_left": None if left is None else round(left, 1),
    }


@contextlib.contextmanager
def _live() -> Iterator[Show]:
    # rich costs more to import than a small image to link: only a terminal pays for it.
    from rich.console import Console
    from rich.live import Live

    board = PullBoard()
    console = Console(stderr=True)
    with Live(
        get_renderable=lambda: _draw(board, console.height), console=console, refresh_per_second=8
    ) as live:

        def plan(what: PullPlan) -> None:
            board.plan(what)
            live.console.print(describe_plan(what), markup=False, highlight=False)

        def tell(event: ImportEvent) -> None:
            board.hear(event)
            if event.kind == "warning":
                text = f"warning: {printable(event.text)}"
                live.console.print(text, style="yellow", markup=False, highlight=False)
            elif event.kind == "current":
                live.console.print(f"{printable(event.text)}: up to date", markup=False)

        yield Show(plan, tell)


def _draw(board: PullBoard, height: int) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    states = [state for state in board.layers() if state.stage != "here"]
    # An image of many layers on a small terminal: those at work come first.
    order = {"fetch": 0, "pack": 0, "wait": 1, "queue": 2, "done": 3}
    most = max(3, height - 4)
    shown = states
    if len(states) > most:
        shown = sorted(states, key=lambda state: order.get(state.stage, 3))[:most]
    table = Table.grid(padding=(0, 1))
    for state in shown:
        at_work = state.stage in ("fetch", "pack", "wait")
        table.add_row(
            Text(state.label),
            ProgressBar(total=max(state.total, 1), completed=state.done, width=24),
            Text(f"{human_size(state.done)}/{human_size(state.total)}", justify="right"),
            Text(
                f"{human_size(int(state.rate))}/s" if at_work and state.rate else "",
                justify="right",
            ),
            Text(_STAGES.get(state.stage, state.stage)),
            Text(_LIMITS.get(state.limit, "") if at_work else "", style="dim"),
        )
    overall = board.overall()
    if not overall.total:
        return Text("linking the image" if overall.stage == "link" else "")
    return Group(table, Text(describe_overall(overall), style="bold"))


def describe_overall(overall: Overall) -> str:
    """One line: how far, how fast, how long, and what holds it up."""
    if overall.stage == "link":
        return "linking the image"
    share = 100 * overall.done // overall.total if overall.total else 100
    line = f"{human_size(overall.done)} of {human_size(overall.total)} ({share}%)"
    if overall.rate:
        line += f", {human_size(int(overall.rate))}/s"
    if overall.seconds_left:
        line += f", {_span(overall.seconds_left)} left"
    if overall.limit:
        line += f", limited by the {_LIMITS[overall.limit]}"
    return line


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 100:
        return f"{max(whole, 1)} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _emit(event: str, **members: object) -> None:
    print(json.dumps({"event": event, **members}), flush=True)
