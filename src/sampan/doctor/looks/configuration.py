"""Configuration files of engines, in TOML or JSON, with the later drop-ins winning."""

import json
import tomllib
from typing import Any

from sampan.doctor.host import Host


def read_json(host: Host, path: str) -> dict[str, Any]:
    """A JSON object; empty when the file is absent or is none."""
    return parse_json(host.read(path))


def parse_json(text: str) -> dict[str, Any]:
    """A JSON object from a program's output; empty when it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def read_toml(host: Host, path: str) -> dict[str, Any]:
    """A TOML file's tables; empty when the file is absent or is no TOML."""
    try:
        return tomllib.loads(host.read(path))
    except (ValueError, RecursionError):
        return {}


def read_toml_with_parts(host: Host, path: str, directory: str, suffix: str) -> dict[str, Any]:
    """A TOML file and its drop-ins in the order of their names, tables merged."""
    merged = read_toml(host, path)
    for name in host.list(directory):
        if name.endswith(suffix):
            merged = merge(merged, read_toml(host, f"{directory}/{name}"))
    return merged


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Both, table by table; values of the second win."""
    merged = dict(first)
    for name, value in second.items():
        old = merged.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = merge(old, value) if both and isinstance(old, dict) else value
    return merged


def table(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """A table within tables; empty when it is not there."""
    here: Any = document
    for name in names:
        here = here.get(name) if isinstance(here, dict) else None
    return here if isinstance(here, dict) else {}


def words(value: object) -> tuple[str, ...]:
    """A list of texts; empty when it is none."""
    if not isinstance(value, list):
        return ()
    return tuple(one for one in value if isinstance(one, str))
