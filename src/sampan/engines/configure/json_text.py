"""Edits of a JSON text that leave every byte alone that is not part of the edit.

Reading and writing it anew would keep the order of members, but not blank lines, lists on one line,
the spelling of numbers or escapes; an administrator would find his file changed all over.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from sampan.engines.configure.edits import ConfigurationSyntaxError, Key

_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()


class _Member(NamedTuple):
    """Where a member of an object stands: offsets into the text, ends exclusive."""

    name: str
    start: int
    value_start: int
    end: int


class JsonText:
    """A JSON object as text; changes are made in the text."""

    def __init__(self, text: str, path: str) -> None:
        """Read it; an empty file is an empty object, as it is for dockerd.

        Raises:
            ConfigurationSyntaxError: it is no JSON object, or names a member twice.
        """
        self._text = text if text.strip() else "{}\n"
        try:
            value = json.loads(self._text, object_pairs_hook=_without_twins)
        except json.JSONDecodeError as error:
            hint = ""
            if any(line.lstrip().startswith(("//", "#", "/*")) for line in text.splitlines()):
                hint = "; comments are no JSON, and dockerd does not start with them"
            raise ConfigurationSyntaxError(
                f"{path} is no valid JSON",
                evidence=f"line {error.lineno}, column {error.colno}: {error.msg}{hint}",
                remedy=f"correct {path} first",
            ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationSyntaxError(
                f"{path} cannot be edited", evidence=str(error), remedy=f"correct {path} first"
            ) from error
        if not isinstance(value, dict):
            raise ConfigurationSyntaxError(
                f"{path} is no JSON object", evidence=f"it holds a {type(value).__name__}",
                remedy=f"correct {path} first",
            )  # fmt: skip

    def text(self) -> str:
        """The text with all changes so far."""
        return self._text

    def values(self) -> Mapping[str, object]:
        """The whole object."""
        values: dict[str, object] = json.loads(self._text)
        return values

    def set(self, key: Key, value: object) -> None:
        """Give the member at ``key`` a value; objects on the way are made.

        Raises:
            ConfigurationSyntaxError: something on the way is no object.
        """
        start, depth = _skip(self._text, 0), 0
        for position, name in enumerate(key):
            if self._text[start] != "{":
                raise ConfigurationSyntaxError(
                    f"{'.'.join(key[:position])} is no object", remedy="correct the file first"
                )
            member = self._find(start, name)
            if member is None:
                for inner in reversed(key[position + 1 :]):
                    value = {inner: value}
                self._insert(start, depth, name, value)
                return
            if position == len(key) - 1:
                self._splice(member.value_start, member.end, self._render(value, depth + 1))
                return
            start, depth = member.value_start, depth + 1

    def delete(self, key: Key) -> None:
        """Take the member at ``key`` away, with the comma that belongs to it."""
        start = _skip(self._text, 0)
        for name in key[:-1]:
            found = self._find(start, name)
            if found is None:
                return
            start = found.value_start
        members = _members(self._text, start)
        for position, member in enumerate(members):
            if member.name != key[-1]:
                continue
            if position:
                self._splice(members[position - 1].end, member.end, "")
            elif len(members) > 1:
                self._splice(member.start, members[1].start, "")
            else:
                self._splice(start + 1, self._text.index("}", member.end), "")

    def _find(self, start: int, name: str) -> _Member | None:
        return next((one for one in _members(self._text, start) if one.name == name), None)

    def _insert(self, start: int, depth: int, name: str, value: object) -> None:
        members = _members(self._text, start)
        line = f"{json.dumps(name)}: {self._render(value, depth + 1)}"
        if not members:
            end = self._text.index("}", start)
            outer, inner = self._line(depth), self._line(depth + 1)
            self._splice(start + 1, end, f"{inner}{line}{outer}")
            return
        before_first = self._text[start + 1 : members[0].start]
        between = before_first if "\n" in before_first else " "
        self._splice(members[-1].end, members[-1].end, f",{between}{line}")

    def _splice(self, start: int, end: int, new: str) -> None:
        self._text = self._text[:start] + new + self._text[end:]

    def _render(self, value: object, depth: int) -> str:
        if self._is_compact():
            return json.dumps(value)
        lines = json.dumps(value, indent=self._indent()).split("\n")
        return self._line(depth).join(lines)

    def _line(self, depth: int) -> str:
        if self._is_compact():
            return ""
        end = "\r\n" if "\r\n" in self._text else "\n"
        return end + self._indent() * depth

    def _is_compact(self) -> bool:
        """A text that has everything on one line stays so; an empty object opens up."""
        return "\n" not in self._text.strip() and bool(_members(self._text, _skip(self._text, 0)))

    def _indent(self) -> str:
        for line in self._text.splitlines():
            if line.strip() and line[0] in " \t":
                return line[: len(line) - len(line.lstrip())]
        return "    "


def _members(text: str, start: int) -> list[_Member]:
    """The members of the object that starts at ``start``; none of them if it is no object."""
    found: list[_Member] = []
    if text[start] != "{":
        return found
    position = _skip(text, start + 1)
    while text[position] != "}":
        name, end = _DECODER.raw_decode(text, position)
        value_start = _skip(text, _skip(text, end) + 1)
        _, value_end = _DECODER.raw_decode(text, value_start)
        found.append(_Member(name, position, value_start, value_end))
        position = _skip(text, value_end)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {twin!r} stands there twice")
    return members
