"""``sampan sif list``: the objects of a SIF file."""

import argparse

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan sif list [OPTIONS] FILE"
    add_flag(parser.add_argument, "--json", help="all that is known of each object, as JSON")
    parser.add_argument("file", metavar="FILE", help="a SIF file")


def main(arguments: argparse.Namespace) -> int:
    """Print the table."""
    import json

    from sampan.cli.columns import format_columns
    from sampan.cli.render import printable
    from sampan.images.sif import open_sif
    from sampan.images.sif_words import describe_object, group_word, kind_word, link_word

    sif = open_sif(arguments.file)
    if arguments.json:
        print(json.dumps([describe_object(item) for item in sif.objects], indent=1))
        return 0
    rows = [
        (
            str(item.identity),
            group_word(item),
            link_word(item),
            f"{item.offset}-{item.offset + item.size}",
            printable(kind_word(item)),
            printable(item.name),
        )
        for item in sif.objects
    ]
    print(format_columns(("ID", "GROUP", "LINK", "POSITION (START-END)", "TYPE", "NAME"), rows))
    return 0
