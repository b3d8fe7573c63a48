"""``sampan mirror``: many images to a registry of one's own, or into a layout for a site without network."""

import argparse
import json
import os
import sys

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options, registry_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan mirror [OPTIONS] SOURCE [SOURCE...] DESTINATION"
    parser.epilog = """\
sources:
  [REGISTRY/]NAME:TAG      one image (also @DIGEST)
  [REGISTRY/]NAME          a repository's tags, as the options choose them
  nvcr.io/SPACE/           all repositories of a space (nvcr.io/ORG[/TEAM]/, docker.io/USER/)
  @FILE, ./FILE, /FILE     a list of these, one a line; # begins a comment, @- is standard input
destinations:
  REGISTRY[/PREFIX]        repositories keep their path below it
  oci:DIRECTORY            a layout to carry away; each image under its whole name
What is there is not copied again: run it anew after a break, or every night.
"""
    parser.add_argument(
        "--tags",
        metavar="GLOB",
        action="append",
        default=[],
        help="only tags that match, e.g. '24.*-py3', or a regular expression between slashes; "
        "may be repeated",
    )
    parser.add_argument(
        "--newer-than",
        metavar="AGE",
        default="",
        help="only tags changed since then, e.g. 90d, or made since then where the registry tells no dates",
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=int,
        default=0,
        help="the newest N tags of each repository; all by default",
    )
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        default="",
        help="one image of several; by default all with their index, so that digests stay",
    )
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="blobs at once (3)")
    add_flag(parser.add_argument, "--dry-run", help="say what would be copied, and copy nothing")
    add_flag(parser.add_argument, "--json", help="print the report as JSON")
    add_flag(parser.add_argument, "--quiet", "-q", help="print only the last line, and failures")
    add_registry_options(parser)
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="see below")
    parser.add_argument("destination", metavar="DESTINATION", help="see below")


def main(arguments: argparse.Namespace) -> int:
    """Copy and report; 1 when an image failed."""
    from sampan.cli.humanize import human_size, parse_age
    from sampan.cli.render import print_error, printable
    from sampan.cli.transfer_progress import show_transfer
    from sampan.engines.copy import CopyOptions
    from sampan.engines.mirror import Mirrored, MirrorOptions, mirror
    from sampan.model.image import parse_platform

    options = MirrorOptions(
        tags=tuple(arguments.tags),
        newer_than_s=parse_age("--newer-than", arguments.newer_than)
        if arguments.newer_than
        else None,
        limit=max(0, arguments.limit),
        copying=CopyOptions(
            every_platform=not arguments.platform,
            platform=parse_platform(arguments.platform) if arguments.platform else None,
            jobs=arguments.jobs,
            settings=registry_settings(arguments),
        ),
        dry_run=arguments.dry_run,
    )

    def tell(outcome: Mirrored) -> None:
        if outcome.error is not None:
            print(f"failed: {printable(outcome.source)}", file=sys.stderr)
            print_error(outcome.error)
        elif not arguments.quiet and not arguments.json:
            size = f"  {human_size(outcome.moved_bytes)}" if outcome.moved_bytes else ""
            print(f"{outcome.outcome:8}{printable(outcome.source)}{size}", flush=True)

    with show_transfer(quiet=arguments.quiet or not sys.stderr.isatty()) as hear:
        outcomes = mirror(
            _read_sources(arguments.sources),
            arguments.destination,
            environment=os.environ,
            options=options,
            hear=hear,
            tell=tell,
        )
    failed = sum(outcome.outcome == "failed" for outcome in outcomes)
    if arguments.json:
        print(json.dumps([_as_json(outcome) for outcome in outcomes], indent=2))
    else:
        counts = {
            word: sum(outcome.outcome == word for outcome in outcomes)
            for word in ("copied", "wanted", "present", "failed")
        }
        moved = human_size(sum(outcome.moved_bytes for outcome in outcomes))
        parts = [f"{number} {word}" for word, number in counts.items() if number]
        print(f"{', '.join(parts) or 'nothing fits'}; {moved} moved")
    return 1 if failed else 0


def _read_sources(words: list[str]) -> list[str]:
    from sampan.engines.mirror import read_list
    from sampan.errors import UsageError

    sources: list[str] = []
    for word in words:
        path = word.removeprefix("@")
        if path == word and not word.startswith(("/", "./", "../")):
            sources.append(word)
            continue
        try:
            if path == "-":
                text = sys.stdin.read()
            else:
                with open(path, encoding="utf-8") as stream:
                    text = stream.read()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the list {path}", evidence=str(error)) from error
        sources += read_list(text)
    return sources


def _as_json(outcome: object) -> dict[str, object]:
    from sampan.engines.mirror import Mirrored

    assert isinstance(outcome, Mirrored)
    found = {
        "source": outcome.source,
        "destination": outcome.target,
        "outcome": outcome.outcome,
        "digest": outcome.digest,
        "movedBytes": outcome.moved_bytes,
    }
    if outcome.error is not None:
        found["error"] = str(outcome.error)
    return found
