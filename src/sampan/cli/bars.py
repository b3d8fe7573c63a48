"""The bars that transfers and imports draw on a terminal: one look for all of them."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextlib.contextmanager
def open_bars() -> Iterator["Progress"]:
    """Live bars on standard error: what, how much of it, how fast, how long already."""
    # rich costs more to import than a small image to link: only a terminal pays for it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    ) as progress:
        yield progress


def note_above(progress: "Progress", text: str) -> None:
    """A quiet line above the bars."""
    progress.console.print(text, style="dim", markup=False)


def warn_above(progress: "Progress", text: str) -> None:
    """A warning above the bars."""
    progress.console.print(f"warning: {text}", style="yellow", markup=False)
