"""``sampan kill``: send a signal to containers."""

import argparse

from sampan.cli.each import for_each


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "-s", "--signal", default="KILL", metavar="SIGNAL", help="name or number; default: KILL"
    )
    parser.add_argument("names", metavar="CONTAINER", nargs="+", help="names or ids")


def main(arguments: argparse.Namespace) -> int:
    """Send it.

    Raises:
        UsageError: there is no such signal.
    """
    from sampan.engines.native.control import kill_container
    from sampan.engines.native.signals import parse_signal

    parse_signal(arguments.signal)
    return for_each(arguments.names, lambda name: kill_container(name, arguments.signal))
