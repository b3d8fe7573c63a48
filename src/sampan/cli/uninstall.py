"""``sampan uninstall``: take away what ``sampan install`` has put in place."""

import argparse

from sampan.dropin.install import PREFIX, uninstall


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--prefix", default=PREFIX, metavar="DIR", help=f"of the installation (default: {PREFIX})"
    )


def main(arguments: argparse.Namespace) -> int:
    """Uninstall, and say what is gone and what is back."""
    made = uninstall(arguments.prefix)
    print(f"removed:  {made.home} and {len(made.names)} names")
    for path in sorted(made.backups):
        print(f"restored: {path}")
    return 0
