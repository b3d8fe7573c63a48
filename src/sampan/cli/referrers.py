"""``sampan referrers``: signatures, bills of materials and attestations of an image in its registry."""

import argparse
import json
import os

from sampan.cli.flags import add_flag
from sampan.cli.registry_options import add_registry_options, registry_settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan referrers [OPTIONS] REFERENCE"
    parser.add_argument(
        "--artifact-type", metavar="TYPE", default="", help="only documents of this media type"
    )
    add_flag(parser.add_argument, "--json", help="a JSON array")
    add_registry_options(parser)
    parser.add_argument("reference", metavar="REFERENCE", help="[REGISTRY/]NAME[:TAG][@DIGEST]")


def main(arguments: argparse.Namespace) -> int:
    """List and print."""
    from sampan.cli.columns import format_columns
    from sampan.cli.render import printable
    from sampan.engines.referrers import find_referrers

    found = find_referrers(
        arguments.reference,
        arguments.artifact_type,
        environment=os.environ,
        settings=registry_settings(arguments),
    )
    if arguments.json:
        print(json.dumps([{**each._asdict(), "annotations": dict(each.annotations)} for each in found.referrers], indent=2))  # fmt: skip
        return 0
    rows = [(each.digest, printable(each.kind), each.tag) for each in found.referrers]
    print(format_columns(("DIGEST", "TYPE", "TAG"), rows))
    return 0
