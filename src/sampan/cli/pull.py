"""``sampan pull``: an image from a registry into the store."""

import argparse
import json
import os

from sampan.cli.flags import add_flag
from sampan.cli.pulling import POLICIES, pull
from sampan.cli.registry_options import add_registry_options, registry_settings
from sampan.model.spellings import ARTIFACT_PREFIX


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan pull [OPTIONS] REFERENCE [FILE]"
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
        help="always: what the registry has now, asked by HEAD (default); newer: likewise, but the "
        "store's image will do when the registry cannot be asked; missing: only without such an "
        "image in the store; never: only look into the store",
    )
    parser.add_argument(
        "--gpus",
        metavar="GPUS",
        help="hold what the image demands of driver and GPU against these, as of sampan run",
    )
    add = parser.add_argument
    add_flag(
        add,
        "--dry-run",
        help="say what would be fetched, whether it fits, and what it is; fetch nothing",
    )
    add_flag(add, "--json", help="events as JSON, one a line; with --dry-run one document")
    add_flag(add, "--quiet", "-q", help="print nothing but the id")
    add_flag(add, "--force", help="replace FILE")
    add_registry_options(parser)
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="[REGISTRY/]NAME[:TAG][@DIGEST], e.g. nvcr.io/nvidia/cuda:12.4.1-base-ubuntu22.04",
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="",
        help="with oras://...: where the SIF file goes; NAME_TAG.sif by default",
    )


def main(arguments: argparse.Namespace) -> int:
    """Pull and print the image's id, or the path of a SIF file."""
    if arguments.file or arguments.reference.startswith(ARTIFACT_PREFIX):
        return _pull_file(arguments)
    if arguments.dry_run:
        return _rehearse(arguments)
    form = "json" if arguments.json else "quiet" if arguments.quiet else ""
    image = pull(
        arguments.reference,
        policy=arguments.policy,
        platform=arguments.platform,
        gpus=arguments.gpus,
        settings=registry_settings(arguments),
        form=form,
    )
    if arguments.json:
        print(json.dumps({"event": "done", "image": image.digest, "name": image.name}))
    else:
        print(image.digest)
    return 0


def _pull_file(arguments: argparse.Namespace) -> int:
    from sampan.cli.transfer_progress import show_transfer
    from sampan.engines.artifacts import pull_sif
    from sampan.errors import UsageError
    from sampan.model.image import parse_platform

    if not arguments.reference.startswith(ARTIFACT_PREFIX):
        raise UsageError(
            "only an artifact is pulled into a file",
            evidence=f"{arguments.reference} does not begin with {ARTIFACT_PREFIX}",
            remedy=f"sampan pull {arguments.reference}; sampan inspect says where its SIF file is",
        )
    with show_transfer(quiet=arguments.quiet) as hear:
        path = pull_sif(
            arguments.reference,
            arguments.file,
            environment=os.environ,
            platform=parse_platform(arguments.platform) if arguments.platform else None,
            force=arguments.force,
            settings=registry_settings(arguments),
            hear=hear,
        )
    print(path)
    return 0


def _rehearse(arguments: argparse.Namespace) -> int:
    from sampan.cli.pull_words import describe_rehearsal, plan_document
    from sampan.cli.render import print_warning
    from sampan.engines.pull import PullOptions, open_pull
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform

    options = PullOptions(
        platform=parse_platform(arguments.platform) if arguments.platform else None,
        gpus=arguments.gpus,
        settings=registry_settings(arguments),
    )
    with open_pull(
        arguments.reference,
        store=locate_store(os.environ),
        environment=os.environ,
        options=options,
    ) as plan:
        if arguments.json:
            print(json.dumps(plan_document(plan), indent=1))
            return 0
        for warning in plan.warnings:
            print_warning(warning)
        print(describe_rehearsal(plan))
    return 0
