"""``sampan sif dump``: the bytes of one object of a SIF file."""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif dump ID FILE"
    parser.add_argument("id", metavar="ID", type=int, help="the object's number")
    parser.add_argument("file", metavar="FILE", help="a SIF file")


def main(arguments: argparse.Namespace) -> int:
    """Write the bytes to standard output."""
    import sys

    from sampan.errors import UsageError
    from sampan.images.sif import open_sif
    from sampan.images.sif_format import DATA_PARTITION
    from sampan.images.sif_parts import locate_object, read_pieces

    sif = open_sif(arguments.file)
    item = locate_object(sif, arguments.id)
    if item.kind == DATA_PARTITION and sys.stdout.isatty():
        raise UsageError(
            "a file system is nothing for a terminal",
            remedy=f"sampan sif dump {arguments.id} {arguments.file} > FILE",
        )
    for piece in read_pieces(sif, item):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0
