"""``sampan rm``: forget ended containers."""

import argparse

from sampan.cli.each import for_each
from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_flag(parser.add_argument, "-f", "--force", help="kill running ones first")
    add_flag(parser.add_argument, "-v", "--volumes", help="also anonymous volumes: they end with a container anyway",
    )  # fmt: skip
    parser.add_argument("names", metavar="CONTAINER", nargs="+", help="names or ids")


def main(arguments: argparse.Namespace) -> int:
    """Remove them; with --force a name that is not there is no failure, as with docker."""
    from sampan.engines.native.control import remove_container
    from sampan.engines.native.state import NoSuchContainerError

    return for_each(
        arguments.names,
        lambda name: remove_container(name, force=arguments.force),
        harmless=(NoSuchContainerError,) if arguments.force else (),
    )
