"""``sampan save``: images of the store as one archive."""

import argparse
import os

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan save [OPTIONS] NAME [NAME...]"
    parser.add_argument(
        "--output", "-o", metavar="FILE", default="-", help="standard output by default"
    )
    parser.add_argument(
        "--format",
        choices=("docker-archive", "oci-archive"),
        default="docker-archive",
        help="docker-archive: for docker load and podman load (default); oci-archive: smaller "
        "(podman takes one image from it)",
    )
    parser.add_argument(
        "--compression",
        choices=("gzip", "zstd", "none"),
        default="",
        help="of the layers of an oci-archive (gzip)",
    )
    # podman's and docker's scripts say it; several images are always possible here.
    add_flag(parser.add_argument, "--multi-image-archive", "-m", help=argparse.SUPPRESS)
    add_flag(parser.add_argument, "--quiet", "-q", help="print only warnings")
    parser.add_argument("names", metavar="NAME", nargs="+", help="an image's name or id")


def main(arguments: argparse.Namespace) -> int:
    """Write the archive."""
    from sampan.cli.transfer_progress import show_transfer
    from sampan.images.saving import save_images
    from sampan.images.store_layout import locate_store

    with show_transfer(quiet=arguments.quiet) as hear:
        save_images(
            arguments.names,
            arguments.output,
            store=locate_store(os.environ),
            form=arguments.format,
            compression=arguments.compression,
            hear=hear,
        )
    return 0
