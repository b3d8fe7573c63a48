"""``sampan whoami``: which credentials count at a registry, and which lie there unused."""

import argparse
import os

from sampan.registry.settings import NGC


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.usage = "sampan whoami [REGISTRY[/PATH]]"
    parser.add_argument(
        "registry",
        metavar="REGISTRY[/PATH]",
        nargs="?",
        default=NGC,
        help=f"default: {NGC}; a path may have credentials of its own",
    )


def main(arguments: argparse.Namespace) -> int:
    """Print them; nobody is asked but the places where credentials are kept.

    Returns:
        1 without any credentials.
    """
    from sampan.cli.key_words import describe_credential
    from sampan.cli.login import read_registry_name
    from sampan.cli.render import print_warning
    from sampan.registry.login import find_identities

    name = read_registry_name(arguments.registry)
    identities = find_identities(name, os.environ)
    for problem in identities.problems:
        print_warning(problem)
    if not identities.credentials:
        print(f"{name}: nobody; only public images can be pulled")
        return 1
    first, *others = identities.credentials
    print(f"{name}: {describe_credential(first)}")
    for other in others:
        print(f"  also there, not used: {describe_credential(other)}")
    return 0
