"""``sampan store export``: images for another store, each layer once."""

import argparse
import os
import sys
from pathlib import Path

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan store export [OPTIONS] -o FILE|DIRECTORY/|- [NAME...]"
    parser.description = (
        "Writes images with all their names so that sampan store import takes them into another "
        "store, without a network. Packed layers travel as they are, each once. An export that was "
        "cut goes on where it was when the same is typed again."
    )
    parser.add_argument(
        "--output",
        "-o",
        metavar="PATH",
        required=True,
        help="a file, a directory (that exists, or ending with /), or - for standard output",
    )
    parser.add_argument(
        "--have",
        metavar="FILE",
        help="what sampan store list printed on the other side: its layers are left out",
    )
    add_flag(parser.add_argument, "--quiet", "-q", help="print only warnings")
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="names or ids; all named images when none is given"
    )


def main(arguments: argparse.Namespace) -> int:
    """Export and say how much it was."""
    from sampan.cli.humanize import human_size
    from sampan.cli.transfer_progress import show_transfer
    from sampan.errors import UsageError
    from sampan.images.exporting import export_images
    from sampan.images.store_access import reading_lock
    from sampan.images.store_layout import locate_store

    if arguments.output == "-" and sys.stdout.isatty():
        raise UsageError(
            "an export is no text for a terminal", remedy="sampan store export -o FILE"
        )
    have = Path(arguments.have).read_text().splitlines() if arguments.have else []
    store = locate_store(os.environ)
    # One line a file is much in a log; a terminal shows bars.
    quiet = arguments.quiet or not sys.stderr.isatty()
    with reading_lock(store), show_transfer(quiet=quiet) as hear:
        done = export_images(store, arguments.names, arguments.output, have=have, hear=hear)
    if not arguments.quiet:
        words = [
            f"Exported {done.images} images, {done.layers} layers, {human_size(done.size)}",
            f"{human_size(done.kept)} were there already" if done.kept else "",
            f"{done.left_out} layers left out" if done.left_out else "",
        ]
        print("; ".join(word for word in words if word), file=sys.stderr)
    return 0
