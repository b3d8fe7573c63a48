"""``sampan sif del``: an object out of a SIF file."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif del ID FILE"
    parser.add_argument("id", metavar="ID", type=int, help="the object's number")
    parser.add_argument("file", metavar="FILE", help="a SIF file, which is changed")


def main(arguments: argparse.Namespace) -> int:
    """Take it away."""
    import time

    from sampan.images.sif_edit import delete_object

    delete_object(arguments.file, arguments.id, now=int(time.time()))
    return 0
