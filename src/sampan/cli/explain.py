"""``sampan explain``: what a container would get of the host's driver, and why."""

import argparse
import os

from sampan.cli.driver_options import add_driver_options, find_inventory
from sampan.cli.explain_render import render_json, render_table
from sampan.cli.pulling import add_pull_option, with_image
from sampan.cli.registry_options import add_registry_options, registry_settings
from sampan.cli.render import print_warning
from sampan.engines.driver_import import prepare_import
from sampan.errors import UsageError
from sampan.images.documents import read_config, read_document
from sampan.images.facts_json import load_facts
from sampan.images.store import locate_image
from sampan.model.facts import ImageFacts


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "image",
        metavar="IMAGE",
        nargs="?",
        help="a name or id from `sampan images`, or a name to pull; without one the plan is that"
        " for an image in which the driver's files lie where the host has them",
    )
    parser.add_argument(
        "--gpus", metavar="WISH", help="as of `sampan run`: all, 2, device=0,2, idle:1 ..."
    )
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="VENDOR/CLASS=NAME",
        help="as of `sampan run`: a CDI device of any vendor",
    )
    parser.add_argument(
        "--cdi-spec-dir", action="append", default=[], metavar="DIR", help="as of `sampan run`"
    )
    parser.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="as of `sampan run`; NVIDIA_DRIVER_CAPABILITIES and others change the plan",
    )
    parser.add_argument(
        "--cap-add",
        action="append",
        default=[],
        metavar="CAP",
        help="as of `sampan run`; MIG's configuration needs SYS_ADMIN",
    )
    add_pull_option(parser.add_argument)
    add_registry_options(parser)
    add_driver_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the plan item by item; GPUs that are wanted idle are named, not leased."""
    facts, image_environment = _look_at_image(arguments) if arguments.image else (None, {})
    outcome = prepare_import(
        gpus_option=arguments.gpus,
        image_environment=image_environment,
        user_environment=parse_environment(arguments.env),
        facts=facts,
        privileged=_is_privileged(arguments.cap_add),
        find_inventory=lambda: find_inventory(arguments),
        cdi_devices=_cdi_names(arguments.device),
        cdi_directories=arguments.cdi_spec_dir,
    )
    for warning in outcome.plan.warnings:
        print_warning(warning)
    print(render_json(outcome) if arguments.format == "json" else render_table(outcome))
    return 0


def _look_at_image(arguments: argparse.Namespace) -> tuple[ImageFacts, dict[str, str]]:
    image = with_image(
        lambda: locate_image(arguments.image),
        arguments.image,
        policy=arguments.pull,
        settings=lambda: registry_settings(arguments),
    )
    facts = load_facts(read_document(image.facts_path))
    config = read_config(image.config_path)
    pairs = (line.partition("=") for line in config.environment)
    return facts, {name: value for name, _, value in pairs}


def _cdi_names(words: list[str]) -> list[str]:
    from sampan.cli.option_mounts import split_devices

    nodes, names = split_devices(words)
    if nodes:
        raise UsageError(
            f"--device {nodes[0]}: only CDI devices are explained",
            remedy="--device nvidia.com/gpu=0    sampan cdi list names those of this host",
        )
    return names


def _is_privileged(words: list[str]) -> bool:
    from sampan.engines.native.capabilities import NAMES, choose_capabilities

    return "SYS_ADMIN" in choose_capabilities(tuple(words), (), frozenset(NAMES))[0]


def parse_environment(words: list[str]) -> dict[str, str]:
    """``NAME=VALUE``, or ``NAME`` for the value it has here; unset names are left out.

    Raises:
        UsageError: a word without a name.
    """
    said = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"-e {word!r} has no name", remedy="-e NAME=VALUE")
        if equals:
            said[name] = value
        elif name in os.environ:
            said[name] = os.environ[name]
    return said
