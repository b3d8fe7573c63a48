"""``WWW-Authenticate`` (RFC 9110, 11.6.1): several challenges and schemes in one or more headers.

Values may be quoted and then hold anything, ``=`` and ``,`` included. Read character by character:
every shortcut has broken some client at some registry.
"""

from collections.abc import Iterable
from typing import NamedTuple

_TOKEN = frozenset(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/:"
)


class Challenge(NamedTuple):
    """One scheme, in lower case, with its parameters (names in lower case)."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """All challenges of the given header values; what cannot be read is left out."""
    found: list[Challenge] = []
    for header in headers:
        _parse_header(header, found)
    return found


def _parse_header(text: str, found: list[Challenge]) -> None:
    at = 0
    current: Challenge | None = None
    while at < len(text):
        if text[at] in ", \t":
            at += 1
            continue
        start = at
        while at < len(text) and text[at] in _TOKEN:
            at += 1
        word = text[start:at]
        if not word:
            return
        following = _skip_blanks(text, at)
        if following < len(text) and text[following] == "=":
            value, at = _read_value(text, _skip_blanks(text, following + 1))
            if current is not None:
                current.parameters.setdefault(word.lower(), value)
        else:
            current = Challenge(word.lower(), {})
            found.append(current)


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _read_value(text: str, at: int) -> tuple[str, int]:
    if at < len(text) and text[at] == '"':
        at += 1
        value = []
        while at < len(text) and text[at] != '"':
            if text[at] == "\\" and at + 1 < len(text):
                at += 1
            value.append(text[at])
            at += 1
        return "".join(value), at + 1
    start = at
    while at < len(text) and text[at] not in ", \t":
        at += 1
    return text[start:at], at
