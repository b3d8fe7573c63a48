"""Edits of a TOML text that keep comments, order and unknown keys; the work is tomlkit's."""

import tomllib
from collections.abc import Mapping, MutableMapping
from typing import Any

from sampan.engines.configure.edits import ConfigurationSyntaxError, Key


class TomlText:
    """A TOML document as text."""

    def __init__(self, text: str, path: str) -> None:
        """Read it.

        Raises:
            ConfigurationSyntaxError: it is no TOML.
        """
        self._path = path
        try:
            self._values: dict[str, Any] = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigurationSyntaxError(
                f"{path} is no valid TOML", evidence=str(error), remedy=f"correct {path} first"
            ) from error
        self._text = text

    def text(self) -> str:
        """The text with all changes so far."""
        return self._text

    def values(self) -> Mapping[str, object]:
        """The whole document."""
        return self._values

    def set(self, key: Key, value: object) -> None:
        """Give the value at ``key``; tables on the way are made.

        Raises:
            ConfigurationSyntaxError: something on the way is no table.
        """
        import tomlkit
        from tomlkit.items import InlineTable, Item, Table

        document = tomlkit.parse(self._text)
        table: Any = document
        for position, name in enumerate(key[:-1]):
            if name not in table:
                # Only the innermost table gets a headline.
                further = bool(key[position + 1 : -1])
                inline = isinstance(table, InlineTable)
                table[name] = tomlkit.inline_table() if inline else tomlkit.table(further)
            table = table[name]
            if not isinstance(table, MutableMapping):
                raise ConfigurationSyntaxError(
                    f"{self._path}: {'.'.join(key[: position + 1])} is no table",
                    remedy=f"correct {self._path} first",
                )
        old = table.get(key[-1])
        if isinstance(old, list) and isinstance(value, list) and value[:-1] == old:
            old.append(value[-1])
        else:
            indent = _indent(table)
            table[key[-1]] = value
            if old is None and indent and isinstance(table, Table):
                item = table.value.item(key[-1])
                if isinstance(item, Item):
                    item.trivia.indent = indent
        self._take(document.as_string(), _rooted(tomllib.loads(self._text), key, value))

    def delete(self, key: Key) -> None:
        """Take the value or table at ``key`` away."""
        import tomlkit

        document = tomlkit.parse(self._text)
        table: Any = document
        expected: Any = tomllib.loads(self._text)
        whole = expected
        for name in key[:-1]:
            table, expected = table[name], expected[name]
        del table[key[-1]]
        del expected[key[-1]]
        self._take(document.as_string(), whole)

    def _take(self, text: str, expected: Mapping[str, object]) -> None:
        """Believe an edit only when an independent reader finds it, and nothing else, in the text."""
        try:
            values = tomllib.loads(text)
        except ValueError as error:
            values = {"": str(error)}
        if not _same(values, expected):
            raise ConfigurationSyntaxError(
                f"{self._path} cannot be edited safely",
                evidence="its tables are arranged in a way that an edit would disturb",
                remedy="see sampan configure --help: --config names another file to be edited",
            )
        self._text, self._values = text, values


def _rooted(values: dict[str, Any], key: Key, value: object) -> dict[str, Any]:
    table = values
    for name in key[:-1]:
        table = table.setdefault(name, {})
    table[key[-1]] = value
    return values


def _indent(table: Any) -> str:
    """The blanks before the keys of a table."""
    body = getattr(getattr(table, "value", None), "body", [])
    for name, item in body:
        if name is not None and not isinstance(item, MutableMapping):
            return str(item.trivia.indent)
    head = str(getattr(getattr(table, "trivia", None), "indent", "")).replace("\n", "")
    return f"{head}  " if head else ""


def _same(one: object, other: object) -> bool:
    """Equal, a table without anything counting as none: headlines come and go with their keys."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_same(one.get(name, {}), other.get(name, {})) for name in {*one, *other})
    return one == other
