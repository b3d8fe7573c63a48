"""``sampan sif extract``: all objects of a SIF file as files."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif extract FILE [DIRECTORY]"
    parser.add_argument("file", metavar="FILE", help="a SIF file")
    parser.add_argument(
        "directory",
        metavar="DIRECTORY",
        nargs="?",
        default=".",
        help="where the files go, each named by its number; made when it is missing",
    )


def main(arguments: argparse.Namespace) -> int:
    """Write the files and print their paths."""
    from pathlib import Path

    from sampan.images.sif import open_sif
    from sampan.images.sif_parts import extract_objects

    for path in extract_objects(open_sif(arguments.file), Path(arguments.directory)):
        print(path)
    return 0
