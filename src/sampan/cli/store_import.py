"""``sampan store import``: take in what another store exported."""

import argparse
import os
import sys

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan store import [OPTIONS] PATH"
    parser.description = (
        "Takes in what sampan store export wrote: layers that are not here are copied and held "
        "against their digests, images linked, names set. What is complete stays when it is cut."
    )
    add_flag(parser.add_argument, "--quiet", "-q", help="print only the names")
    parser.add_argument("path", metavar="PATH", help="a file, a directory, or - for standard input")


def main(arguments: argparse.Namespace) -> int:
    """Import and print the names."""
    from sampan.cli.import_progress import tell_warnings
    from sampan.cli.render import printable
    from sampan.cli.transfer_progress import show_transfer
    from sampan.errors import UsageError
    from sampan.images.store_layout import locate_store
    from sampan.images.taking_in import import_export

    if arguments.path == "-" and sys.stdin.isatty():
        raise UsageError("an export is wanted on standard input", remedy="sampan store import FILE")

    quiet = arguments.quiet or not sys.stderr.isatty()
    with show_transfer(quiet=quiet) as hear:
        names = import_export(
            arguments.path, store=locate_store(os.environ), hear=hear, tell=tell_warnings
        )
    for reference, _ in names:
        print(f"Imported image: {printable(reference.familiar)}")
    return 0
