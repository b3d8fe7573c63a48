"""``sampan cdi diff``: compare a CDI file with what would be written now."""

import argparse
import os

from sampan.cli.cdi_options import (
    add_generate_options,
    complete_options,
    document_options,
    find_inventory,
)
from sampan.cli.render import printable
from sampan.engines.cdi import load_spec, make_spec
from sampan.injection.cdi_describe import compare_specs


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("file", metavar="FILE", help="a CDI file, as made with the same options")
    add_generate_options(parser)
    parser.epilog = "Exit code 0: they say the same. 1: they differ."


def main(arguments: argparse.Namespace) -> int:
    """Print what only the file says (-) and what only the host says (+)."""
    complete_options(arguments, os.environ)
    old = load_spec(arguments.file)
    options = document_options(arguments)
    vendor, _, class_name = old.kind.partition("/")
    options = options._replace(
        vendor=options.vendor or vendor, class_name=options.class_name or class_name
    )
    new = make_spec(find_inventory(arguments), options).spec
    lines = compare_specs(old, new)
    for line in lines:
        print(printable(line))
    return 1 if lines else 0
