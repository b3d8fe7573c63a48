"""One line on the terminal while a store is read; nothing where nobody looks."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from sampan.cli.humanize import human_size
from sampan.images.examining import Progress


@contextlib.contextmanager
def show_examination(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """What takes the progress of an examination."""
    if quiet or not sys.stderr.isatty():
        yield _ignore
        return
    try:
        yield _draw
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _draw(progress: Progress) -> None:
    line = f"{progress.done} of {progress.total}, {human_size(progress.read)} read"
    sys.stderr.write(f"\r\x1b[K{line}")
    sys.stderr.flush()


def _ignore(_: Progress) -> None:
    """Nobody looks."""
