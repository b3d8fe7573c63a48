"""The documentation says what the program does."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from sampan.cli.table import COMMANDS
from support.reference import reference_page

ROOT = Path(__file__).parents[3]


def shown_command_lines() -> list[str]:
    """Indented lines that begin with the program's name."""
    pages = (ROOT / "README.md", ROOT / "docs/tutorial.md")
    return [
        line.strip()
        for page in pages
        for line in page.read_text().splitlines()
        if line.startswith("    sampan ")
    ]


def test_the_reference_page_is_what_the_parsers_say():
    assert (ROOT / "docs/reference.md").read_text() == reference_page(), "run scripts/reference"


@pytest.mark.parametrize("line", shown_command_lines())
def test_a_command_line_that_the_documentation_shows_is_understood(line: str) -> None:
    name, *words = shlex.split(line, comments=True)[1:]
    if name == "--version":
        return
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    importlib.import_module(f"sampan.cli.{COMMANDS[name].module}").configure(parser)
    parser.parse_args(words)


def test_a_bar_in_a_cell_of_the_reference_page_does_not_end_it() -> None:
    rows = [line for line in reference_page().splitlines() if line.startswith("| `")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


def test_the_reference_page_lists_the_sources_of_an_import() -> None:
    assert "oci-archive:FILE[:TAG] " in reference_page()


def test_every_command_that_the_readme_shows_exists():
    shown = re.findall(r"\bsampan ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert set(shown) <= {name.split()[0] for name in COMMANDS} | {"runs"}
