"""Where each millisecond of a start goes: marks on the monotonic clock, shared with pid 1.

Off unless ``SAMPAN_TRACE_START`` is set; benchmarks/start sets it to the monotonic time in
nanoseconds at which it started us, so that the interpreter's own start is in the table.
"""

import os
import time

VARIABLE = "SAMPAN_TRACE_START"

_marks: list[tuple[str, int]] = []
_enabled = VARIABLE in os.environ


def is_enabled() -> bool:
    """Whether somebody wants the table."""
    return _enabled


def mark(phase: str) -> None:
    """Say that ``phase`` ended now."""
    if _enabled:
        _marks.append((phase, time.monotonic_ns()))


def take_marks() -> list[tuple[str, int]]:
    """The marks so far, forgotten here: for pid 1 to send them to its parent."""
    taken = list(_marks)
    _marks.clear()
    return taken


def add_marks(marks: list[tuple[str, int]]) -> None:
    """Add what pid 1 sent."""
    _marks.extend(marks)


def render_table() -> str:
    """One line a phase, in milliseconds since the mark before it."""
    began = os.environ.get(VARIABLE, "")
    marks = sorted(_marks, key=lambda one: one[1])
    if not marks:
        return ""
    before = int(began) if began.isdigit() and len(began) > 1 else marks[0][1]
    first, lines = before, []
    for phase, at in marks:
        lines.append(f"{phase:<28}{(at - before) / 1e6:8.2f} ms")
        before = at
    lines.append(f"{'total':<28}{(before - first) / 1e6:8.2f} ms")
    return "\n".join(lines)
