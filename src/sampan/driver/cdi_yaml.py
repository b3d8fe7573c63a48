"""YAML and JSON text of CDI documents, both ways.

Writing is ours: a CDI document is objects, lists, texts and numbers, and importing PyYAML to write
them costs more than everything else that ``sampan cdi generate`` does on a known host. Reading takes
PyYAML's event parser and builds the values itself: no aliases (a few lines of them can stand for
gigabytes), no tags, no two members of one name, bounded depth and size, and texts that YAML 1.1
alone takes for numbers (``1:0``) stay texts, as the engines' parsers have them.
"""

import json
import re
from collections import Counter
from typing import Any

from sampan.errors import SampanError

MAXIMUM_BYTES = 4 << 20
MAXIMUM_DEPTH = 32
MAXIMUM_NODES = 200_000

_PLAIN = re.compile(r"(?:--)?[A-Za-z/][A-Za-z0-9/_.,=+@-]*(?::+[A-Za-z0-9/_.,=+@-]+)*", re.ASCII)
_WORDS = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])
_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)
_NUMBER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)


class CdiTextError(SampanError):
    """A file's text is no YAML or JSON that a CDI document may be."""

    id = "cdi-text"


def render_yaml(document: dict[str, Any], comment: str = "") -> str:
    """Block-style YAML, members in the given order; ``comment`` becomes the first line."""
    lines = [f"# {comment}"] if comment else []
    _render(document, "", lines)
    return "\n".join(lines) + "\n"


def render_json(document: dict[str, Any]) -> str:
    """Indented JSON."""
    return json.dumps(document, indent=2) + "\n"


def _render(value: dict[str, Any], indent: str, lines: list[str], first: str = "") -> None:
    lead = first or indent
    for key, item in value.items():
        name = _scalar(key)
        if isinstance(item, dict) and item:
            lines.append(f"{lead}{name}:")
            _render(item, f"{indent}  ", lines)
        elif isinstance(item, list) and item:
            lines.append(f"{lead}{name}:")
            for one in item:
                if isinstance(one, dict) and one:
                    _render(one, f"{indent}  ", lines, first=f"{indent}- ")
                else:
                    lines.append(f"{indent}- {_scalar(one)}")
        else:
            lines.append(f"{lead}{name}: {_scalar(item)}")
        lead = indent


def _scalar(value: object) -> str:
    if isinstance(value, str):
        plain = (
            _PLAIN.fullmatch(value) and not (len(value) < 6 and value.lower() in _WORDS)
        ) or _VERSION.fullmatch(value)
        return value if plain else f'"{"".join(map(_escape, value))}"'
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "[]"
    return json.dumps(value)


def _escape(one: str) -> str:
    """As in JSON, but JSON's pairs of surrogates and a bare DEL are no YAML."""
    if one > "\uffff" or one == "\x7f":
        return f"\\U{ord(one):08x}"
    return json.dumps(one)[1:-1]


def parse_text(text: bytes, *, is_json: bool) -> object:
    """The values of a document's text.

    Raises:
        CdiTextError: not of the language, too large, too deep, with aliases, tags or a member twice.
    """
    if len(text) > MAXIMUM_BYTES:
        raise _refuse(f"it is larger than {MAXIMUM_BYTES >> 20} MiB")
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        raise _refuse(f"it is not UTF-8 text at byte {error.start}") from error
    return _parse_json(decoded) if is_json else _parse_yaml(decoded)


def _parse_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise _refuse("it is nested too deeply") from error
    except ValueError as error:
        raise _refuse(str(error)) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        times = Counter(name for name, _ in pairs)
        twice = next(name for name, number in times.items() if number > 1)
        raise _refuse(f"the member {twice!r} is there twice")
    return members


def _parse_yaml(text: str) -> object:
    import yaml

    try:
        return _build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise _refuse(" ".join(str(error).split())) from error
    except ValueError as error:
        raise _refuse(str(error)) from error


def _build(events: Any) -> object:
    """The value of the one document; iterative, so that depth costs no stack."""
    waiting: list[tuple[Any, list[object]]] = []
    result: list[object] = []
    documents = 0
    for number, event in enumerate(events):
        if number > MAXIMUM_NODES:
            raise _refuse(f"it has more than {MAXIMUM_NODES} parts")
        kind = type(event).__name__
        line = event.start_mark.line + 1
        items = waiting[-1][1] if waiting else result
        if kind == "AliasEvent":
            raise _refuse(f"line {line}: aliases (*{event.anchor}) are not allowed")
        if kind == "DocumentStartEvent":
            documents += 1
            if documents > 1:
                raise _refuse(f"line {line}: a second document begins")
        elif kind == "ScalarEvent":
            items.append(_resolve(event))
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            if event.tag not in (None, "!"):
                raise _refuse(f"line {line}: tags ({event.tag}) are not allowed")
            if len(waiting) >= MAXIMUM_DEPTH:
                raise _refuse(f"line {line}: nested more than {MAXIMUM_DEPTH} deep")
            waiting.append((event, []))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            start, items = waiting.pop()
            value: object = items
            if kind == "MappingEndEvent":
                value = _mapping(items, start.start_mark.line + 1)
            (waiting[-1][1] if waiting else result).append(value)
    return result[0] if result else None


def _mapping(items: list[object], line: int) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(name, str):
            raise _refuse(f"line {line}: a member's name is no text")
        if name in members:
            raise _refuse(f"line {line}: the member {name!r} is there twice")
        members[name] = value
    return members


def _resolve(event: Any) -> object:
    text: str = event.value
    if event.tag is not None:
        if event.tag in ("!", "tag:yaml.org,2002:str"):
            return text
        raise _refuse(f"line {event.start_mark.line + 1}: tags ({event.tag}) are not allowed")
    if not event.implicit[0]:
        return text  # quoted, or a block
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        # Go's parser takes a leading zero for octal, as file modes are written.
        octal = (
            text.lstrip("+-").startswith("0") and text.strip("+-01234567") == "" and len(text) > 1
        )
        return int(text, 8 if octal else 10)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _refuse(evidence: str) -> CdiTextError:
    return CdiTextError(
        "the file is no CDI document",
        evidence=evidence,
        remedy="correct the file, or have it written anew: sampan cdi generate --output FILE",
    )
