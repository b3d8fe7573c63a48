"""``sampan rm``: forget ended containers."""

import argparse

from sampan.cli.each import for_each


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("-f", "--force", action="store_true", help="kill running ones first")
    parser.add_argument(
        "-v", "--volumes", action="store_true",
        help="also anonymous volumes: they end with a container anyway",
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
