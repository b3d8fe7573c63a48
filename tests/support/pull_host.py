"""``sampan pull`` as processes of their own, and servers that are slow in known ways."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sampan.images.store_layout import StoreLayout


def pull_environment(store: StoreLayout, home: Path) -> dict[str, str]:
    """What a pull of a test sees."""
    return {
        **os.environ,
        "PYTHONPATH": ":".join(sys.path),
        "SAMPAN_STORE": store.root,
        "HOME": str(home),
    }


def start_pull(store: StoreLayout, name: str, home: Path, *words: str) -> "subprocess.Popen[str]":
    """Begin ``sampan pull WORDS NAME``."""
    return subprocess.Popen(
        [sys.executable, "-m", "sampan", "pull", *words, name],
        env=pull_environment(store, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events_of(process: "subprocess.Popen[str]") -> Iterator[dict[str, Any]]:
    """What ``--json`` says, as it comes."""
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


class Drip:
    """Gives blobs piece by piece, with a pause after each, until ``release`` is called."""

    def __init__(self, piece: int, pause_s: float, *, only: Sequence[str] = ("/blobs/",)) -> None:
        self._piece = piece
        self._pause_s = pause_s
        self._only = only
        self._released = threading.Event()

    def release(self) -> None:
        """Give the rest, and all that follows, at once."""
        self._released.set()

    def __call__(self, handler: Any) -> bool:
        if not all(part in handler.path for part in self._only):
            return False
        content = handler.part_of(handler.content())
        length = {"Content-Length": str(len(content.body))}
        handler.answer(content.status, {**content.headers, **length})
        for at in range(0, len(content.body), self._piece):
            handler.wfile.write(content.body[at : at + self._piece])
            handler.wfile.flush()
            self._released.wait(self._pause_s)
        return True


def children_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found
