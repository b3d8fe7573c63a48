"""What push, copy, mirror, save and load show while they work: bars on a terminal, lines in a log."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sampan.cli.bars import note_above, open_bars, warn_above
from sampan.cli.humanize import human_size
from sampan.cli.render import print_warning
from sampan.model.transfer import Hear, TransferEvent

if TYPE_CHECKING:
    from rich.progress import TaskID

_LINES = {
    "sent": "sent",
    "fetched": "fetched",
    "present": "already there",
    "mounted": "already there, in another repository",
}


@contextlib.contextmanager
def show_transfer(*, quiet: bool) -> Iterator[Hear]:
    """The listener that fits standard error; any thread may call it. SIGTERM unwinds meanwhile."""
    # A job's end or a timeout comes as SIGTERM: give back what was begun.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if quiet:
            yield _hear_warnings
        elif sys.stderr.isatty():
            with _bars() as hear:
                yield hear
        else:
            yield _hear_lines
    finally:
        signal.signal(signal.SIGTERM, before)


def _hear_warnings(event: TransferEvent) -> None:
    if event.kind == "warning":
        print_warning(event.text)


def _hear_lines(event: TransferEvent) -> None:
    words = _LINES.get(event.kind)
    if words is not None:
        size = f" ({human_size(event.total)})" if event.total else ""
        print(f"blob {event.text}: {words}{size}", file=sys.stderr)
    elif event.kind == "manifest":
        print(f"manifest {event.text}", file=sys.stderr)
    else:
        _hear_warnings(event)


@contextlib.contextmanager
def _bars() -> Iterator[Hear]:
    with open_bars() as progress:
        tasks: dict[str, TaskID] = {}
        lock = threading.Lock()

        def hear(event: TransferEvent) -> None:
            if event.kind == "warning":
                warn_above(progress, event.text)
            elif event.kind == "sending":
                with lock:
                    if event.text not in tasks:
                        tasks[event.text] = progress.add_task(event.text, total=None)
                progress.update(tasks[event.text], completed=event.done, total=event.total or None)
            elif event.kind in ("sent", "fetched") and event.text in tasks:
                progress.update(tasks[event.text], completed=event.done, total=event.total)
            elif event.kind in _LINES:
                note_above(progress, f"{event.text}: {_LINES[event.kind]}")

        yield hear
