"""``sampan cdi generate``: write a CDI document of this host's driver and GPUs."""

import argparse
import os

from sampan.cli.cdi_options import (
    add_generate_options,
    choose_format,
    choose_output,
    complete_options,
    document_options,
    find_inventory,
)
from sampan.cli.flags import add_flag
from sampan.cli.render import print_warning
from sampan.driver.fingerprint import fingerprint_text
from sampan.engines.cdi import make_spec, render_spec
from sampan.errors import UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--output", metavar="FILE", help="default: standard output")
    add_flag(
        parser.add_argument,
        "--capability-classes",
        help="also one file for each driver capability: FILE-compute.yaml of class gpu-compute ...",
    )
    add_generate_options(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print or write the document."""
    complete_options(arguments, os.environ)
    arguments.output = choose_output(arguments.output, arguments)
    options = document_options(arguments)
    if arguments.capability_classes and not arguments.output:
        raise UsageError(
            "--capability-classes needs --output", remedy="--output /var/run/cdi/nvidia.yaml"
        )
    inventory = find_inventory(arguments)
    as_json = choose_format(arguments)
    fingerprint = fingerprint_text(inventory)
    generated = make_spec(inventory, options)
    for note in generated.notes:
        print_warning(note)
    texts = {
        arguments.output: render_spec(generated.spec, as_json=as_json, fingerprint=fingerprint)
    }
    if arguments.capability_classes:
        stem, extension = os.path.splitext(arguments.output)
        base = generated.spec.kind.partition("/")[2]
        for word in options.capabilities:
            narrow = options._replace(capabilities=(word,), class_name=f"{base}-{word}")
            spec = make_spec(inventory, narrow).spec
            texts[f"{stem}-{word}{extension}"] = render_spec(
                spec, as_json=as_json, fingerprint=fingerprint
            )
    for path, text in texts.items():
        if path:
            from sampan.driver.cdi_files import write_spec_file

            write_spec_file(path, text)
        else:
            print(text, end="")
    return 0
