"""``sampan tags``: the tags of a repository, with date, size, platforms and signature where told."""

import argparse
import json
import os
import sys

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options, registry_settings
from sampan.model.reference import parse_reference
from sampan.registry.catalogue import TAG_ORDERS, list_tags
from sampan.registry.listings import TagListing

_DEFAULT_LIMIT = 50


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan tags [OPTIONS] REPOSITORY"
    parser.add_argument(
        "--filter",
        metavar="GLOB",
        default="",
        help="only tags that match, e.g. '24.*-py3'",
    )
    parser.add_argument(
        "--sort",
        choices=TAG_ORDERS,
        default="date",
        help="newest (default), greatest name or largest first; by name where no dates are told",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=int,
        default=_DEFAULT_LIMIT,
        help=f"at most so many (default {_DEFAULT_LIMIT}); 0: all",
    )
    add_flag(parser.add_argument, "--json", help="a JSON array with all that is known")
    add_registry_options(parser)
    parser.add_argument(
        "repository",
        metavar="REPOSITORY",
        help="[REGISTRY/]NAME, or the address of its page at NGC or Docker Hub",
    )


def main(arguments: argparse.Namespace) -> int:
    """List and print."""
    from sampan.cli.render import print_warning

    reference = parse_reference(arguments.repository)
    limit = max(0, arguments.limit)
    outcome = list_tags(
        reference,
        order=arguments.sort,
        limit=limit,
        pattern=arguments.filter,
        environment=os.environ,
        settings=registry_settings(arguments),
    )
    for note in outcome.notes:
        print_warning(note)
    if arguments.json:
        print(json.dumps([_document(listing) for listing in outcome.tags], indent=2))
        return 0
    if not outcome.tags:
        such = "such " if arguments.filter else ""
        print(f"{reference.name} has no {such}tag", file=sys.stderr)
        return 1
    _print_table(outcome.tags)
    if outcome.total is None or outcome.total > len(outcome.tags):
        of_all = "" if outcome.total is None else f" of {outcome.total}"
        print(f"{len(outcome.tags)}{of_all} are shown: --limit 0 shows all", file=sys.stderr)
    return 0


def _print_table(tags: tuple[TagListing, ...]) -> None:
    from sampan.cli.columns import format_columns
    from sampan.cli.humanize import human_size

    if not any(listing.updated or listing.size for listing in tags):
        print("\n".join(listing.tag for listing in tags))
        return
    signed = {True: "yes", False: "no", None: "-"}
    rows = [
        (
            listing.tag,
            listing.updated[:10] or "-",
            human_size(listing.size) if listing.size else "-",
            ",".join(image.platform.removeprefix("linux/") for image in listing.platforms) or "-",
            signed[listing.is_signed],
            " ".join(listing.notes),
        )
        for listing in tags
    ]
    print(format_columns(("TAG", "PUSHED", "SIZE", "PLATFORMS", "SIGNED", ""), rows))


def _document(listing: TagListing) -> dict[str, object]:
    return {**listing._asdict(), "platforms": [image._asdict() for image in listing.platforms]}
