"""``sampan cdi show``: the edits that qualified names stand for, merged as an engine merges them."""

import argparse

from sampan.cli.cdi_list import add_directory_option, spec_directories
from sampan.cli.render import print_warning
from sampan.driver.cdi_nodes import CdiNodeError, complete_nodes
from sampan.driver.cdi_yaml import render_json, render_yaml
from sampan.engines.cdi import load_registry
from sampan.injection.cdi_document import encode_edits
from sampan.injection.cdi_resolve import resolve_devices


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="vendor.com/class=name")
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml", help="default: yaml")
    add_directory_option(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the edits, their nodes with this host's numbers where it has them."""
    edits = resolve_devices(arguments.names, load_registry(spec_directories(arguments)).specs)
    try:
        edits = complete_nodes(edits)
    except CdiNodeError as error:
        print_warning(f"{error.cause}: {error.evidence}")
    render = render_json if arguments.format == "json" else render_yaml
    print(render({"containerEdits": encode_edits(edits)}), end="")
    return 0
