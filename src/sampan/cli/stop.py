"""``sampan stop``: ask containers to end, kill those that do not."""

import argparse

from sampan.cli.each import for_each
from sampan.cli.option_values import parse_number


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "-t", "--time", "--timeout", metavar="SECONDS",
        help="from stop signal to SIGKILL, -1: for ever; default: the container's --stop-timeout",
    )  # fmt: skip
    parser.add_argument("names", metavar="CONTAINER", nargs="+", help="names or ids")


def main(arguments: argparse.Namespace) -> int:
    """Stop them, one after the other."""
    from sampan.engines.native.control import stop_container

    timeout_s = None if arguments.time is None else parse_number("--time", arguments.time, -1)
    return for_each(arguments.names, lambda name: stop_container(name, timeout_s))
