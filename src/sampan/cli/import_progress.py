"""What ``sampan import`` shows while it works: bars on a terminal, lines in a log."""

import contextlib
import sys
from collections.abc import Iterator

from sampan.cli.humanize import human_size
from sampan.cli.render import print_warning
from sampan.images.layer_packing import ImportEvent, Tell


@contextlib.contextmanager
def choose_progress(*, quiet: bool, terminal: bool) -> Iterator[Tell]:
    """The listener that fits; warnings are shown by all of them."""
    if quiet:
        yield _tell_warnings
    elif terminal:
        with _bars() as tell:
            yield tell
    else:
        yield _tell_lines


def _tell_warnings(event: ImportEvent) -> None:
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
            _tell_warnings(event)


@contextlib.contextmanager
def _bars() -> Iterator[Tell]:
    # rich costs more to import than a small image to link: only a terminal pays for it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def task_of(event: ImportEvent) -> TaskID:
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
                    progress.console.print(
                        f"{event.text}: already there", style="dim", markup=False
                    )
                case "link":
                    progress.console.print("linking the image", style="dim", markup=False)
                case "warning":
                    progress.console.print(f"warning: {event.text}", style="yellow", markup=False)

        yield tell
