"""``sampan load``: all images of an archive into the store, names kept."""

import argparse
import os
import signal
import sys

from sampan.cli.flags import add_flag
from sampan.images.store_layout import COMPRESSIONS


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan load [OPTIONS] [-i FILE]"
    parser.add_argument(
        "--input", "-i", metavar="FILE", default="-", help="standard input by default"
    )
    parser.add_argument(
        "--compression",
        choices=COMPRESSIONS,
        default="zstd",
        help="of the image files: zstd (default), or gzip for kernels before 4.14",
    )
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        default="",
        help="which images of several, e.g. linux/arm64; the host's by default",
    )
    add_flag(parser.add_argument, "--quiet", "-q", help="print only what was loaded")


def main(arguments: argparse.Namespace) -> int:
    """Load and print the names."""
    from sampan.cli.import_progress import choose_progress
    from sampan.cli.render import printable
    from sampan.errors import UsageError
    from sampan.images.importer import ImportOptions
    from sampan.images.loading import load_archive
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform

    if arguments.input == "-" and sys.stdin.isatty():
        raise UsageError("an archive is wanted on standard input", remedy="sampan load -i FILE")
    # A job's end or a timeout comes as SIGTERM: unwind, so that no half-written gigabytes stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = ImportOptions(
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        compression=arguments.compression,
    )
    with choose_progress(quiet=arguments.quiet, terminal=sys.stderr.isatty()) as tell:
        loaded = load_archive(
            arguments.input, store=locate_store(os.environ), options=options, progress=tell
        )
    for name in loaded:
        print(f"Loaded image: {printable(name.reference.familiar)}")
    return 0
