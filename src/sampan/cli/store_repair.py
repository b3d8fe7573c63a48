"""``sampan store repair``: mend what is damaged in the store, or set it aside."""

import argparse
import os

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Checks the store and mends it: images are linked anew from whole layers, notes written "
        "anew; what cannot be made again goes to quarantine/ in the store, which sampan prune "
        "empties. Waits for running imports. Exit code 1 when something must be fetched again."
    )
    add_flag(
        parser.add_argument,
        "--quick",
        help="look at sizes, indices and records only, and mend such damage",
    )


def main(arguments: argparse.Namespace) -> int:
    """Repair and print what was done."""
    from sampan.cli.render import printable
    from sampan.cli.store_progress import show_examination
    from sampan.images.repair import repair
    from sampan.images.store import check_store
    from sampan.images.store_access import create_store
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    if not check_store(store):
        print(f"There is no store in {store.root}")
        return 0
    create_store(store)
    with show_examination(quiet=False) as progress:
        _, done = repair(store, is_quick=arguments.quick, progress=progress)
    for one in done:
        print(printable(f"{one.action}: {one.kind} {one.name}: {one.problem}"))
        if one.remedy:
            print(printable(f"  to have it back: {one.remedy}"))
    print(f"{len(done)} repaired" if done else "Nothing to repair")
    return 1 if any(one.action == "quarantined" for one in done) else 0
