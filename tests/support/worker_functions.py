"""Functions that worker processes import in the tests of ``kernel.workers``."""

import os
from collections.abc import Callable
from typing import Any

from sampan.errors import UsageError


def double(value: Any, report: Callable[[int], None]) -> Any:
    report(value if isinstance(value, int) else 0)
    return value * 2


def refuse(value: str, report: Callable[[int], None]) -> None:
    raise UsageError(value, evidence="evidence", remedy="remedy")


def die(number: int, report: Callable[[int], None]) -> None:
    os.kill(os.getpid(), number)


def report_forever(value: int, report: Callable[[int], None]) -> None:
    while True:
        report(os.getpid())
