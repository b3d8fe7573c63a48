"""``sampan pull``: an image from a registry into the store."""

import argparse
import os

from sampan.cli.flags import add_flag
from sampan.cli.pulling import POLICIES, describe_plan, pull
from sampan.images.store import StoredImage, find_image, locate_image


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan pull [OPTIONS] REFERENCE"
    parser.add_argument(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        default="",
        help="which image of several, e.g. linux/arm64; the host's by default",
    )
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="always",
        help="always: ask the registry for news (default); missing: only without such an image "
        "in the store; never: only look into the store",
    )
    parser.add_argument(
        "--gpus",
        metavar="GPUS",
        help="hold what the image demands of driver and GPU against these, as of sampan run",
    )
    add = parser.add_argument
    add_flag(add, "--dry-run", help="say what would be fetched, and fetch nothing")
    add_flag(add, "--quiet", "-q", help="print nothing but the id")
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="[REGISTRY/]NAME[:TAG][@DIGEST], e.g. nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04",
    )


def main(arguments: argparse.Namespace) -> int:
    """Pull and print the image's id."""
    if arguments.dry_run:
        return _rehearse(arguments)
    image = None
    if arguments.policy == "never":
        image = locate_image(arguments.reference)
    elif arguments.policy == "missing":
        image = find_image(arguments.reference)
        if image is not None and not _fits(image, arguments.platform):
            image = None
    if image is None:
        image = pull(
            arguments.reference,
            platform=arguments.platform,
            gpus=arguments.gpus,
            quiet=arguments.quiet,
        )
    print(image.digest)
    return 0


def _fits(image: StoredImage, platform: str) -> bool:
    """Whether an image of the store is for the platform asked for."""
    if not platform:
        return True
    from sampan.images.documents import read_config
    from sampan.model.image import match_platform, parse_platform

    found = read_config(image.config_path).platform
    return match_platform(parse_platform(platform), found) > 0


def _rehearse(arguments: argparse.Namespace) -> int:
    from sampan.cli.render import print_warning
    from sampan.engines.pull import PullOptions, open_pull
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform

    options = PullOptions(
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        gpus=arguments.gpus,
    )
    with open_pull(
        arguments.reference,
        store=locate_store(os.environ),
        environment=os.environ,
        options=options,
    ) as plan:
        for warning in plan.remote.source.warnings:
            print_warning(warning)
        print(describe_plan(plan))
    return 0
