"""``sampan prune``: free what no image needs."""

import argparse
import os
import time


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Frees the packed layers that no image needs, images without a name that no container "
        "uses, and what interrupted imports left. Images with a name are never touched."
    )
    parser.add_argument(
        "--all",
        "-a",
        action="store_true",
        help="also the packed layers that images were made from; the images stay, but importing an "
        "image that shares layers with them packs those again",
    )
    parser.add_argument(
        "--older-than", metavar="TIME", help="only what was not used for TIME, e.g. 12h, 30d"
    )
    parser.add_argument(
        "--max-size",
        metavar="SIZE",
        help="also packed layers, the longest unused first, until the store has at most SIZE, "
        "e.g. 50GB",
    )
    parser.add_argument(
        "--dry-run", "-n", action="store_true", help="say what would be freed, free nothing"
    )


def main(arguments: argparse.Namespace) -> int:
    """Prune and print what was freed."""
    from sampan.cli.humanize import human_size, parse_age, parse_bytes
    from sampan.cli.image_use import images_in_use
    from sampan.images.prune import PruneOptions, prune
    from sampan.images.store import check_store
    from sampan.images.store_access import create_store
    from sampan.images.store_layout import locate_store

    options = PruneOptions(
        all_packs=arguments.all,
        older_than_s=parse_age("--older-than", arguments.older_than)
        if arguments.older_than
        else 0.0,
        max_size=parse_bytes("--max-size", arguments.max_size) if arguments.max_size else None,
        dry_run=arguments.dry_run,
    )
    store = locate_store(os.environ)
    freed = []
    if check_store(store):
        create_store(store)
        freed = prune(store, options, in_use=images_in_use().keys(), now=time.time())
    for item in freed:
        print(f"{item.kind}: {item.name}  {human_size(item.size)}")
    word = "Would free" if options.dry_run else "Freed"
    print(f"{word} {human_size(sum(item.size for item in freed))}")
    return 0
