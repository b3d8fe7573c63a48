"""``sampan logout``: forget the credentials of a registry."""

import argparse
import os

from sampan.registry.settings import NGC


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan logout [REGISTRY[/PATH]]"
    parser.add_argument(
        "registry", metavar="REGISTRY[/PATH]", nargs="?", default=NGC, help=f"default: {NGC}"
    )


def main(arguments: argparse.Namespace) -> int:
    """Remove what ``login`` stored; what other programs stored is named, not touched."""
    from sampan.cli.login import read_registry_name
    from sampan.cli.render import print_warning
    from sampan.registry.credential_store import remove_credential
    from sampan.registry.login import find_identities

    name = read_registry_name(arguments.registry)
    removed = remove_credential(name, os.environ)
    for place in removed:
        print(f"removed the credentials of {name} from {place}")
    if not removed:
        print(f"there were no credentials of {name}")
    left = find_identities(name, os.environ).credentials
    if left:
        print_warning(f"credentials of {name} remain in {left[0].source}, and are used")
    return 0
