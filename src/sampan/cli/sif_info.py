"""``sampan sif info``: one object of a SIF file."""

import argparse

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif info [OPTIONS] ID FILE"
    add_flag(parser.add_argument, "--json", help="as JSON")
    parser.add_argument("id", metavar="ID", type=int, help="the object's number")
    parser.add_argument("file", metavar="FILE", help="a SIF file")


def main(arguments: argparse.Namespace) -> int:
    """Print what the descriptor says."""
    from sampan.cli.sif_facts import print_facts
    from sampan.images.sif import open_sif
    from sampan.images.sif_parts import locate_object
    from sampan.images.sif_words import describe_object

    item = locate_object(open_sif(arguments.file), arguments.id)
    print_facts(describe_object(item), as_json=arguments.json)
    return 0
