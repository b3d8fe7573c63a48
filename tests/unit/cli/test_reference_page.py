"""The documentation says what the program does."""

import re
from pathlib import Path

from sampan.cli.table import COMMANDS
from support.reference import reference_page

ROOT = Path(__file__).parents[3]


def test_the_reference_page_is_what_the_parsers_say():
    assert (ROOT / "docs/reference.md").read_text() == reference_page(), "run scripts/reference"


def test_every_command_that_the_readme_shows_exists():
    shown = re.findall(r"\bsampan ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert set(shown) <= set(COMMANDS) | {"runs"}
