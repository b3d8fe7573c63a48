"""``sampan logout``: forget the credentials of a registry."""

import argparse
import os

from sampan.registry.settings import NGC


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan logout [REGISTRY]"
    parser.add_argument(
        "registry", metavar="REGISTRY", nargs="?", default=NGC, help=f"default: {NGC}"
    )


def main(arguments: argparse.Namespace) -> int:
    """Remove what ``login`` stored; what other programs stored is named, not touched."""
    from sampan.cli.render import print_warning
    from sampan.registry.auth_files import key_name
    from sampan.registry.credentials import find_credential, remove_credential

    registry = key_name(arguments.registry).partition("/")[0]
    removed = remove_credential(registry, os.environ)
    for place in removed:
        print(f"removed the credentials of {registry} from {place}")
    if not removed:
        print(f"there were no credentials of {registry}")
    left = find_credential(registry, "", os.environ).credential
    if left is not None:
        print_warning(f"credentials of {registry} remain in {left.source}, and are used")
    return 0
