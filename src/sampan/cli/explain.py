"""``sampan explain``: what a container of an image would get of the host's driver, and why."""

import argparse
import json
import os

from sampan.cli.columns import format_columns
from sampan.cli.driver_options import add_driver_options, find_inventory
from sampan.cli.pulling import add_pull_option, with_image
from sampan.cli.registry_options import add_registry_options, registry_settings
from sampan.cli.render import print_warning
from sampan.engines.driver_import import DriverImport, prepare_import
from sampan.errors import UsageError
from sampan.images.documents import read_config, read_document
from sampan.images.facts_json import load_facts
from sampan.images.store import locate_image


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "image", metavar="IMAGE", help="a name or id from `sampan images`, or a name to pull"
    )
    parser.add_argument("--gpus", metavar="WISH", help="as of `sampan run`: all, 2, device=0,2 ...")
    parser.add_argument(
        "-e",
        "--env",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="as of `sampan run`; NVIDIA_DRIVER_CAPABILITIES and others change the plan",
    )
    add_pull_option(parser.add_argument)
    add_registry_options(parser)
    add_driver_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the plan item by item."""
    image = with_image(
        lambda: locate_image(arguments.image),
        arguments.image,
        policy=arguments.pull,
        settings=lambda: registry_settings(arguments),
    )
    facts = load_facts(read_document(image.facts_path))
    config = read_config(image.config_path)
    outcome = prepare_import(
        gpus_option=arguments.gpus,
        image_environment={
            name: value for name, _, value in (line.partition("=") for line in config.environment)
        },
        user_environment=parse_environment(arguments.env),
        facts=facts,
        find_inventory=lambda: find_inventory(arguments),
    )
    for warning in outcome.plan.warnings:
        print_warning(warning)
    print(_render_json(outcome) if arguments.format == "json" else _render_table(outcome))
    return 0


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


def _render_table(outcome: DriverImport) -> str:
    request, plan = outcome.request, outcome.plan
    if not request.driver:
        why = (
            f" ({request.source})"
            if request.source
            else ": no --gpus, no -e NVIDIA_VISIBLE_DEVICES"
        )
        return f"Nothing of the host's driver is imported{why}."
    lines = [f"Asked for: {request.source}; capabilities {','.join(request.capabilities)}"]
    for heading, included in (("Imported:", True), ("Left out:", False)):
        rows = [
            (f"  {reason.item}", reason.why, reason.source)
            for reason in plan.reasons
            if reason.included == included
        ]
        if rows:
            lines += ["", heading, format_columns(("  ITEM", "WHY", "FROM"), rows)]
    return "\n".join(lines)


def _render_json(outcome: DriverImport) -> str:
    plan = outcome.plan
    document = {
        "request": outcome.request._asdict(),
        "gpus": [gpu.uuid or gpu.pci_bus_id for gpu in outcome.gpus],
        "mounts": [mount._asdict() for mount in plan.mounts],
        "devices": [device._asdict() for device in plan.devices],
        "links": [link._asdict() for link in plan.links],
        "files": [
            {"path": file.path, "bytes": len(file.content), "mode": file.mode, "mount": file.mount}
            for file in plan.files
        ],
        "environment": dict(plan.environment),
        "additional_gids": plan.additional_gids,
        "reasons": [reason._asdict() for reason in plan.reasons],
        "warnings": plan.warnings,
    }
    return json.dumps(document, indent=2)
