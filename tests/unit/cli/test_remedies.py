"""What remedies tell people to type exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import sampan
from sampan.cli.cdi import SUBCOMMANDS
from sampan.cli.table import COMMANDS

ROOT = Path(sampan.__file__).parent
KNOWN = {*COMMANDS, *(f"cdi {name}" for name in SUBCOMMANDS)}
FAMILIES = {name.partition(" ")[0] for name in KNOWN if " " in name}


def remedies() -> Iterator[tuple[str, str]]:
    """Place and text of every remedy that is written out; what is filled in is ``{}``."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "remedy":
                for part in ast.walk(node.value):
                    place = f"{path.relative_to(ROOT)}:{node.value.lineno}"
                    if isinstance(part, ast.JoinedStr):
                        values = part.values
                        yield (
                            place,
                            "".join(
                                str(v.value) if isinstance(v, ast.Constant) else "{}"
                                for v in values
                            ),
                        )
                    elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield place, part.value


def unknown_commands(text: str) -> list[str]:
    """Commands after ``sampan`` where a command line begins, as far as the text spells them out."""
    found = []
    begins = r"(?:^|[;:&|(]\s*|\bor\s+|\bsudo\s+|\b[A-Z_]+=\S+\s+)"
    for first, second in re.findall(begins + r"sampan ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text):
        name = f"{first} {second}" if first in FAMILIES and second else first
        if name not in KNOWN | FAMILIES:
            found.append(name)
    return found


def test_every_command_that_a_remedy_names_exists() -> None:
    wrong = [(place, name) for place, text in remedies() for name in unknown_commands(text)]
    assert not wrong
    assert unknown_commands("sampan sif bake FILE") == ["sif bake"]
