"""``sampan cdi install-units``: have systemd and udev keep a CDI file up to date."""

import argparse
import os
import sys

from sampan.cli.cdi_refresh import DEFAULT_OUTPUT
from sampan.cli.flags import add_flag
from sampan.engines.cdi_units import SERVICE, install_units, remove_units, render_units


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--output", default=DEFAULT_OUTPUT, metavar="FILE", help=f"default: {DEFAULT_OUTPUT}"
    )
    parser.add_argument(
        "--program", default="", metavar="FILE", help="the units start this; default: this sampan"
    )
    parser.add_argument(
        "--prefix", default="/", metavar="DIR", help="write below DIR, for packages; default: /"
    )
    add_flag(parser.add_argument, "--print", help="show the files, write nothing")
    add_flag(parser.add_argument, "--remove", help="remove the files")


def main(arguments: argparse.Namespace) -> int:
    """Write, show or remove the files; starting them stays the administrator's word."""
    units = render_units(arguments.program or os.path.realpath(sys.argv[0]), arguments.output)
    if arguments.print:
        for unit in units:
            print(f"# {unit.path}\n{unit.text}")
        return 0
    act = remove_units if arguments.remove else install_units
    paths = act(units, arguments.prefix)
    for path in paths:
        print(f"{'removed' if arguments.remove else 'written'}: {path}")
    if arguments.prefix == "/" and paths:
        names = f"{SERVICE}.path {SERVICE}.timer {SERVICE}.service"
        print("to let it work:" if not arguments.remove else "to let it be known:")
        print("  systemctl daemon-reload && udevadm control --reload")
        if not arguments.remove:
            print(f"  systemctl enable --now {names}")
    return 0
