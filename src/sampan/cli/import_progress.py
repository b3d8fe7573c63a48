"""What ``sampan import`` shows while it works: bars on a terminal, lines in a log."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sampan.cli.bars import note_above, open_bars, warn_above
from sampan.cli.humanize import human_size
from sampan.cli.render import print_warning
from sampan.images.layer_packing import ImportEvent, Tell

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextlib.contextmanager
def choose_progress(*, quiet: bool, terminal: bool) -> Iterator[Tell]:
    """The listener that fits; warnings are shown by all of them."""
    if quiet:
        yield tell_warnings
    elif terminal:
        with _bars() as tell:
            yield tell
    else:
        yield _tell_lines


def tell_warnings(event: ImportEvent) -> None:
    """Show warnings and nothing else."""
    if event.kind == "warning":
        print_warning(event.text)


def _tell_lines(event: ImportEvent) -> None:
    match event.kind:
        case "packed":
            size = f" ({human_size(event.total)})" if event.total else ""
            print(f"layer {event.text}: packed{size}", file=sys.stderr)
        case "present":
            print(f"layer {event.text}: already there", file=sys.stderr)
        case "link":
            print("linking the image", file=sys.stderr)
        case _:
            tell_warnings(event)


@contextlib.contextmanager
def _bars() -> Iterator[Tell]:
    with open_bars() as progress:
        tasks: dict[str, TaskID] = {}

        def task_of(event: ImportEvent) -> "TaskID":
            if event.text not in tasks:
                label = event.text if len(event.text) <= 40 else f"...{event.text[-37:]}"
                tasks[event.text] = progress.add_task(label, total=event.total or None)
            return tasks[event.text]

        def tell(event: ImportEvent) -> None:
            match event.kind:
                case "layer":
                    progress.update(task_of(event), completed=event.done)
                case "packed":
                    task = task_of(event)
                    # What came through a pipe has its size only now.
                    known = event.total or progress.tasks[task].completed or 1
                    progress.update(task, completed=known, total=known)
                case "present":
                    note_above(progress, f"{event.text}: already there")
                case "link":
                    note_above(progress, "linking the image")
                case "warning":
                    warn_above(progress, event.text)

        yield tell
