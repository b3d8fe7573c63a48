"""``sampan store check``: look for damage in the store."""

import argparse
import json
import os

from sampan.cli.flags import add_flag


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        "Reads every packed layer and holds it against its digest, links every image once more and "
        "compares it, looks at records, names and notes. Changes nothing. Exit code 1 when "
        "something is damaged."
    )
    add_flag(
        parser.add_argument,
        "--quick",
        help="look at sizes, indices and records only, not at contents",
    )
    add_flag(parser.add_argument, "--quiet", "-q", help="print only damage")
    add_flag(parser.add_argument, "--json", help="print findings as JSON")


def main(arguments: argparse.Namespace) -> int:
    """Examine and print."""
    from sampan.cli.render import printable
    from sampan.cli.store_progress import show_examination
    from sampan.images.examining import examine_store
    from sampan.images.store_access import reading_lock
    from sampan.images.store_layout import locate_store

    store = locate_store(os.environ)
    with reading_lock(store), show_examination(quiet=arguments.quiet) as progress:
        found = examine_store(store, is_quick=arguments.quick, progress=progress)
    if arguments.json:
        print(json.dumps(found._asdict() | {"findings": [f._asdict() for f in found.findings]}, indent=2))  # fmt: skip
        return 1 if found.damage else 0
    for finding in found.findings:
        if finding.is_damage or not arguments.quiet:
            word = "damaged" if finding.is_damage else "note"
            print(printable(f"{word}: {finding.kind} {finding.name}: {finding.problem}"))
    if not arguments.quiet:
        how = "looked at" if arguments.quick else "read"
        print(f"{found.packs} packed layers, {found.images} images and {found.names} names {how}")
    if found.damage:
        print(f"{len(found.damage)} damaged: sampan store repair sets right what can be set right")
        return 1
    if not arguments.quiet:
        unseen = sum("could not be compared" in finding.problem for finding in found.findings)
        print("No damage found" + (f"; {unseen} images could not be compared" if unseen else ""))
    return 0
