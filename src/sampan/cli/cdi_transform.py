"""``sampan cdi transform root``: the paths of a CDI document moved to another root."""

import argparse
import sys

from sampan.cli.cdi_options import choose_format
from sampan.driver.cdi_files import write_spec_file
from sampan.driver.cdi_yaml import MAXIMUM_BYTES, parse_text
from sampan.engines.cdi import load_spec, render_spec
from sampan.errors import UsageError
from sampan.injection.cdi_describe import move_root
from sampan.injection.cdi_document import decode_spec
from sampan.injection.cdi_versions import required_version, version_key
from sampan.model.cdi import CdiSpec


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("what", choices=("root",), help="what is moved")
    parser.add_argument("--from", dest="old", default="/", metavar="DIR", help="the root so far")
    parser.add_argument("--to", dest="new", default="/", metavar="DIR", help="the root to be")
    parser.add_argument("--input", default="-", metavar="FILE", help="default: standard input")
    parser.add_argument("--output", default="", metavar="FILE", help="default: standard output")
    parser.add_argument(
        "--relative-to",
        choices=("host", "container"),
        default="host",
        help="whose paths are moved; default: host",
    )
    parser.add_argument(
        "--format", choices=("yaml", "json"), help="default: the output's extension, else yaml"
    )


def main(arguments: argparse.Namespace) -> int:
    """Read, move, write."""
    # An empty text is / to nvidia-ctk, too.
    old, new = arguments.old or "/", arguments.new or "/"
    for option, root in (("--from", old), ("--to", new)):
        if not root.startswith("/"):
            raise UsageError(
                f"{option} {root}: an absolute directory is needed", remedy=f"{option} /{root}"
            )
    moved = move_root(
        _read(arguments.input), old, new, container=arguments.relative_to == "container"
    )
    needed, _ = required_version(moved)
    if version_key(moved.version) < version_key(needed):
        moved = moved._replace(version=needed)
    text = render_spec(moved, as_json=choose_format(arguments))
    if arguments.output:
        write_spec_file(arguments.output, text)
    else:
        print(text, end="")
    return 0


def _read(path: str) -> CdiSpec:
    if path != "-":
        return load_spec(path)
    text = sys.stdin.buffer.read(MAXIMUM_BYTES + 1)
    return decode_spec(parse_text(text, is_json=False))
