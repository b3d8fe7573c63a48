"""What a push, copy or mirror tells while it works. Plain values."""

from collections.abc import Callable
from typing import NamedTuple


class TransferEvent(NamedTuple):
    """One step.

    Attributes:
        kind: ``sending`` (``done`` of ``total`` bytes; 0 total = unknown), ``sent``, ``present``
            (nothing to do), ``mounted`` (taken from another repository of the registry),
            ``manifest``, ``warning``.
        text: the blob's label, or the warning.
    """

    kind: str
    text: str = ""
    done: int = 0
    total: int = 0


Hear = Callable[[TransferEvent], None]
"""Called by any thread."""
