"""``sampan install``: put in place what other engines execute, under the names that they look for."""

import argparse

from sampan.dropin.install import PREFIX, install
from sampan.dropin.names import CHOICES


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--prefix",
        default=PREFIX,
        metavar="DIR",
        help=f"programs go below DIR/libexec/sampan, names into DIR/bin (default: {PREFIX})",
    )
    parser.add_argument(
        "--names",
        choices=sorted(CHOICES),
        default="all",
        help="which names: sampan-runtime and sampan-hook, NVIDIA's, or all (default)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="files that have the names and are not Sampan's give way; uninstall restores them",
    )


def main(arguments: argparse.Namespace) -> int:
    """Install, and say what was put where."""
    made = install(arguments.prefix, names=arguments.names, force=arguments.force)
    print(f"programs: {made.home}")
    for path in sorted(made.names):
        print(f"name:     {path}")
    for path, backup in sorted(made.backups.items()):
        print(f"kept:     {path} as {backup}")
    print("next:     sampan configure docker    (podman, containerd, crio ...)")
    return 0
