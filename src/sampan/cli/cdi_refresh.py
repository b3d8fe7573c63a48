"""``sampan cdi refresh``: bring a CDI file up to date, or remove it when the driver is gone."""

import argparse
import os

from sampan.cli.cdi_options import (
    add_generate_options,
    choose_format,
    choose_output,
    complete_options,
    document_options,
    look_at_host,
)
from sampan.cli.render import print_warning
from sampan.driver.fingerprint import fingerprint_text
from sampan.engines.cdi import (
    make_spec,
    refresh_spec,
    remove_stale_spec,
    render_spec,
)

DEFAULT_OUTPUT = "/var/run/cdi/nvidia.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--output", metavar="FILE", help=f"the file; default: {DEFAULT_OUTPUT}")
    add_generate_options(parser)
    parser.epilog = (
        "Exit code 0: the file is up to date, was written, or was removed because no kernel module"
        " is loaded. 125: it could not be made; the module is loaded but nodes or libraries are"
        " missing (try again), or the directory cannot be written."
    )


def main(arguments: argparse.Namespace) -> int:
    """Compare, then write or remove; one line says what was done."""
    from sampan.driver.absence import require_driver

    complete_options(arguments, os.environ)
    path = arguments.output = choose_output(arguments.output, arguments) or DEFAULT_OUTPUT
    options = document_options(arguments)
    inventory = look_at_host(arguments)
    if not inventory.module_version and inventory.platform in ("none", "discrete"):
        kind = f"{options.vendor or 'nvidia.com'}/{options.class_name or 'gpu'}"
        removed = remove_stale_spec(path, kind)
        print(f"no driver is loaded: {path} {'removed' if removed else 'is not there'}")
        return 0
    require_driver(inventory)
    generated = make_spec(inventory, options)
    for note in generated.notes:
        print_warning(note)
    text = render_spec(
        generated.spec,
        as_json=choose_format(arguments),
        fingerprint=fingerprint_text(inventory),
    )
    written = refresh_spec(path, text)
    print(f"{path} {'written' if written else 'is up to date'}")
    return 0
