"""``sampan sif header``: the global header of a SIF file."""

import argparse

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif header [OPTIONS] FILE"
    add_flag(parser.add_argument, "--json", help="as JSON")
    parser.add_argument("file", metavar="FILE", help="a SIF file")


def main(arguments: argparse.Namespace) -> int:
    """Print the header."""
    from sampan.cli.sif_facts import print_facts
    from sampan.images.sif import open_sif
    from sampan.images.sif_words import describe_header

    print_facts(describe_header(open_sif(arguments.file)), as_json=arguments.json)
    return 0
