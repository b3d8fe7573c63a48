"""``sampan cdi install-hook``: install the program that our CDI documents name as their hook."""

import argparse

from sampan.dropin.stub import DIRECTORY, install_hook
from sampan.model.hook import INSTALLED


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "directory", nargs="?", default=DIRECTORY, metavar="DIR", help=f"default: {DIRECTORY}"
    )


def main(arguments: argparse.Namespace) -> int:
    """Install it; documents that are generated from now on name it."""
    path = install_hook(arguments.directory)
    print(f"installed: {path}")
    if path not in INSTALLED:
        print(f"to have documents name it: sampan cdi generate --hook-path {path}")
    return 0
