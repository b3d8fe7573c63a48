"""``sampan tag``: another name for an image of the store."""

import argparse
import os


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.usage = "sampan tag NAME NEW_NAME [NEW_NAME...]"
    parser.add_argument("name", metavar="NAME", help="an image's name or id")
    parser.add_argument(
        "new_names", metavar="NEW_NAME", nargs="+", help="[REGISTRY/]NAME[:TAG]; taken over if used"
    )


def main(arguments: argparse.Namespace) -> int:
    """Name the image."""
    from sampan.images.naming import tag_image
    from sampan.images.store_layout import locate_store

    tag_image(locate_store(os.environ), arguments.name, arguments.new_names)
    return 0
