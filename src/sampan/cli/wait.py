"""``sampan wait``: wait until containers end and print their exit codes."""

import argparse

from sampan.cli.each import for_each


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("names", metavar="CONTAINER", nargs="+", help="names or ids")


def main(arguments: argparse.Namespace) -> int:
    """Wait for each in turn."""
    from sampan.engines.native.control import wait_container

    return for_each(arguments.names, wait_container)
