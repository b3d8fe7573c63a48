"""How the commands of SIF files show titles with values."""

import json
from collections.abc import Mapping

from sampan.cli.render import printable


def print_facts(facts: Mapping[str, str], *, as_json: bool) -> None:
    """Print a JSON object, or lines with the values under each other."""
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    width = max(map(len, facts)) + 1
    for title, value in facts.items():
        print(f"{title + ':':<{width}} {printable(value)}")
