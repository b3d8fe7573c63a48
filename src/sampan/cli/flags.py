"""Options without a value, which docker's users also write as ``--rm=false`` or ``-i=true``.

Each spelling is an option string of its own that the help does not show: argparse knows no option
whose value may only follow ``=``. On the start path: light imports.
"""

import argparse
from collections.abc import Callable

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")
"""The words of Go's strconv.ParseBool."""


def add_flag(add: Callable[..., argparse.Action], *names: str, help: str) -> None:  # noqa: A002
    """Add an option that is False unless given.

    Args:
        add: ``add_argument`` of a parser or group.
        names: as of ``add_argument``.
        help: likewise.
    """
    flag = add(*names, action="store_true", help=help)
    for words, meaning in ((_TRUE, True), (_FALSE, False)):
        spelled = [f"{name}={word}" for name in names for word in words]
        add(
            *spelled, dest=flag.dest, action="store_const", const=meaning, default=False,
            help=argparse.SUPPRESS,
        )  # fmt: skip
