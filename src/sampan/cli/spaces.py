"""``sampan spaces``: the parts of nvcr.io that one can see."""

import argparse
import json
import os

from sampan.cli.flags import add_flag
from sampan.registry.catalogue import find_spaces


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_flag(parser.add_argument, "--json", help="a JSON array with all that is known")


def main(arguments: argparse.Namespace) -> int:
    """List and print."""
    from sampan.cli.columns import format_columns
    from sampan.cli.render import print_warning

    outcome = find_spaces(os.environ)
    for note in outcome.notes:
        print_warning(note)
    if arguments.json:
        print(json.dumps([space._asdict() for space in outcome.spaces], indent=2))
        return 0
    rows = [
        (
            f"nvcr.io/{space.name}",
            "-" if space.images is None else str(space.images),
            "yours" if space.is_own else "public",
            space.title,
        )
        for space in outcome.spaces
    ]
    print(format_columns(("SPACE", "IMAGES", "ACCESS", "WHAT IT IS"), rows))
    return 0
