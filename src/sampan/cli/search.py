"""``sampan search``: find images in NGC's catalogue or on Docker Hub."""

import argparse
import json
import os
import sys

from sampan.cli.flags import add_flag
from sampan.registry.catalogue import SEARCH_ORDERS, SEARCHABLE, search
from sampan.registry.listings import FoundRepository

_DEFAULT_LIMIT = 25
_LONGEST_DESCRIPTION = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan search [OPTIONS] [TERM...]"
    parser.add_argument(
        "--registry", choices=SEARCHABLE, default=SEARCHABLE[0], help="default: nvcr.io"
    )
    parser.add_argument(
        "--space",
        metavar="ORG[/TEAM]",
        default="",
        help="only there, e.g. nvidia, hpc, nvidia-hpcvis, an organisation or team of your own; "
        "sampan spaces lists them",
    )
    parser.add_argument(
        "--sort",
        choices=SEARCH_ORDERS,
        default="relevance",
        help="default: relevance; without a term what is popular comes first",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=int,
        default=_DEFAULT_LIMIT,
        help=f"at most so many (default {_DEFAULT_LIMIT}); 0: all",
    )
    add_flag(parser.add_argument, "--json", help="a JSON array with all that is known")
    parser.add_argument("term", metavar="TERM", nargs="*", help="words to look for")


def main(arguments: argparse.Namespace) -> int:
    """Search and print."""
    from sampan.cli.render import print_warning

    outcome = search(
        " ".join(arguments.term),
        registry=arguments.registry,
        space=arguments.space,
        order=arguments.sort,
        limit=max(0, arguments.limit),
        environment=os.environ,
    )
    for note in outcome.notes:
        print_warning(note)
    if arguments.json:
        print(json.dumps([found._asdict() for found in outcome.repositories], indent=2))
        return 0
    if not outcome.repositories:
        print("nothing found", file=sys.stderr)
        return 0
    _print_table(outcome.repositories)
    if outcome.is_cut:
        print("there are more: --limit 0 shows all", file=sys.stderr)
    return 0


def _print_table(repositories: tuple[FoundRepository, ...]) -> None:
    from sampan.cli.columns import format_columns
    from sampan.cli.humanize import human_size

    rows = [
        (
            f"{found.registry}/{found.repository}",
            found.latest_tag or "-",
            found.updated[:10] or "-",
            human_size(found.size) if found.size else "-",
            _shorten(found.title or found.description),
        )
        for found in repositories
    ]
    print(format_columns(("REPOSITORY", "NEWEST TAG", "UPDATED", "SIZE", "WHAT IT IS"), rows))


def _shorten(text: str) -> str:
    if len(text) <= _LONGEST_DESCRIPTION:
        return text
    return f"{text[: _LONGEST_DESCRIPTION - 1]}…"
