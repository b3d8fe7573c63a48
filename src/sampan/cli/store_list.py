"""``sampan store list``: what the store has, for an export of another store."""

import argparse
import os


def configure(parser: argparse.ArgumentParser) -> None:
    """Nothing to choose."""
    parser.description = (
        "Prints a line for each layer and each image. Carried to another store, it keeps "
        "sampan store export --have from writing what is here already."
    )


def main(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - as of every command
    """Print."""
    from sampan.images.exporting import list_contents
    from sampan.images.store import check_store
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    if check_store(store):
        for line in list_contents(store):
            print(line)
    return 0
