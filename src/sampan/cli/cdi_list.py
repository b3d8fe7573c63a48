"""``sampan cdi list``: the CDI devices of this host, of any vendor, and what keeps files from use."""

import argparse
import json
import os

from sampan.cli.columns import format_columns
from sampan.cli.flags import add_flag
from sampan.cli.render import print_warning, printable
from sampan.driver.cdi_files import SPEC_DIRECTORIES
from sampan.engines.cdi import load_registry
from sampan.injection.cdi_resolve import collect_devices


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory_option(parser)
    add_flag(parser.add_argument, "--quiet", "-q", help="names alone")
    add_flag(parser.add_argument, "--json", help="with conflicts and invalid files")


def add_directory_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--spec-dir``; ``spec_directories`` reads it."""
    parser.add_argument(
        "--spec-dir",
        action="append",
        default=[],
        metavar="DIR",
        help=f"look here, a later one counts more; default: {', '.join(SPEC_DIRECTORIES)}",
    )


def spec_directories(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The directories that the option, else NVIDIA_CTK_CDI_SPEC_DIRS, names."""
    named = arguments.spec_dir or [
        word for word in os.environ.get("NVIDIA_CTK_CDI_SPEC_DIRS", "").split(",") if word
    ]
    return tuple(named) or SPEC_DIRECTORIES


def main(arguments: argparse.Namespace) -> int:
    """List the devices; exit code 1 when a file or name cannot be used."""
    directories = spec_directories(arguments)
    registry = load_registry(directories)
    devices = collect_devices(registry.specs)
    if arguments.json:
        document = {
            "devices": {name: loaded.path for name, (loaded, _) in devices.found.items()},
            "conflicts": devices.conflicts,
            "invalid": dict(registry.problems),
            "warnings": registry.warnings,
        }
        print(json.dumps(document, indent=2))
    else:
        for text in registry.warnings:
            print_warning(text)
        for path, reason in registry.problems:
            print_warning(f"{path} is not used: {reason}")
        for name, paths in devices.conflicts.items():
            print_warning(f"{name} is not used: {', '.join(paths)} all define it")
        rows = [
            (name, printable(loaded.path), loaded.spec.version)
            for name, (loaded, _) in devices.found.items()
        ]
        if arguments.quiet:
            for row in rows:
                print(row[0])
        elif rows:
            print(format_columns(("NAME", "FILE", "CDI"), rows))
        if not rows:
            print_warning(
                f"no CDI device in {', '.join(directories)}; this host's GPUs:"
                " sudo sampan cdi generate --output /var/run/cdi/nvidia.yaml"
            )
    return 1 if registry.problems or devices.conflicts else 0
