"""``sampan cdi validate``: everything that is wrong with CDI files, and whether an engine reads them."""

import argparse
import os

from sampan.cli.render import print_warning, printable
from sampan.driver.cdi_files import SPEC_DIRECTORIES, SUFFIXES, read_spec_file
from sampan.injection.cdi_document import CdiDocumentError, decode_spec
from sampan.injection.cdi_engines import engine_problem, newest_readable


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="CDI files")
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="NAME-RELEASE",
        help="also: does it read this version, and is the file where it looks? podman-4.3,"
        " docker-26.1, containerd-1.7, cri-o-1.30 (may be repeated)",
    )
    parser.epilog = "Exit code 0: all are valid. 1: one is not, or an engine does not read it."


def main(arguments: argparse.Namespace) -> int:
    """One line a file, one a problem."""
    for engine in arguments.engine:
        newest_readable(engine)
    bad = False
    for path in arguments.files:
        problems = _check(path, arguments.engine)
        bad = bad or bool(problems)
        print(printable(f"{path}: {'not valid' if problems else 'valid'}"))
        for problem in problems:
            print(printable(f"  {problem}"))
    return 1 if bad else 0


def _check(path: str, engines: list[str]) -> list[str]:
    file = read_spec_file(path)
    for warning in file.warnings:
        print_warning(warning)
    if file.error:
        return [file.error]
    try:
        spec = decode_spec(file.document)
    except CdiDocumentError as error:
        return error.problems
    problems = [problem for engine in engines if (problem := engine_problem(spec.version, engine))]
    if engines:
        if not path.endswith(SUFFIXES):
            problems.append(f"engines read files that end with {' or '.join(SUFFIXES)} only")
        directory = os.path.realpath(os.path.dirname(os.path.abspath(path)))
        places = {os.path.realpath(place) for place in SPEC_DIRECTORIES}
        if directory not in places:
            problems.append(
                f"engines look into /etc/cdi and /var/run/cdi, not {directory}, unless configured"
            )
    return problems
