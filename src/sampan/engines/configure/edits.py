"""What to change in a configuration file, key by key, and how to take exactly that out again."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from sampan.errors import SampanError

Key = tuple[str, ...]
"""Names of tables, outermost first, and of the value."""


class ConfigurationSyntaxError(SampanError):
    """A configuration file that its own engine could not read either, or that we cannot edit."""

    id = "configuration-syntax"


class Document(Protocol):
    """A text that can be edited by keys; the rest of it stays as it is."""

    def text(self) -> str:
        """The text with all changes so far."""

    def values(self) -> Mapping[str, object]:
        """Everything in it, as plain values."""

    def set(self, key: Key, value: object) -> None:
        """Give the value at ``key``; tables on the way are made."""

    def delete(self, key: Key) -> None:
        """Take the value or table at ``key`` away."""


class Edit(NamedTuple):
    """One wish.

    Attributes:
        key: where.
        value: a text, truth value, number, list or table of such; with ``append`` one element.
        append: have the list at ``key`` contain ``value``, at its end if it does not yet.
    """

    key: Key
    value: object
    append: bool = False


class Done(NamedTuple):
    """One edit that was made, with what is needed to take it out.

    Attributes:
        had: something stood at ``key`` before.
        old: it, or None; with ``append`` unused.
        tables: how many leading parts of ``key`` existed before.
    """

    key: Key
    value: object
    append: bool
    had: bool
    old: object
    tables: int


def make_edits(document: Document, edits: Iterable[Edit]) -> tuple[Done, ...]:
    """Make the edits that are not yet true; returns those.

    Raises:
        ConfigurationSyntaxError: a key leads through something that is no table.
    """
    done = []
    for edit in edits:
        values = document.values()
        had, old = True, None
        try:
            old = locate_value(values, edit.key)
        except KeyError:
            had = False
        new = edit.value
        if edit.append:
            if had and not isinstance(old, list):
                raise ConfigurationSyntaxError(
                    f"{'.'.join(edit.key)} is no list", remedy="correct the file first"
                )
            present = list(old) if isinstance(old, list) else []
            if edit.value in present:
                continue
            new = [*present, edit.value]
        elif had and old == edit.value and type(old) is type(edit.value):
            continue
        tables = _existing(values, edit.key)
        document.set(edit.key, new)
        done.append(Done(edit.key, edit.value, edit.append, had, old, tables))
    return tuple(done)


def take_out(document: Document, done: Iterable[Done]) -> tuple[str, ...]:
    """Undo edits in a document that others changed since; returns what was left, in words.

    A value that is no longer the one we wrote is somebody's wish and stays.
    """
    left = []
    for one in reversed(tuple(done)):
        try:
            now = locate_value(document.values(), one.key)
        except KeyError:
            continue
        name = ".".join(one.key)
        if one.append:
            if not isinstance(now, list) or one.value not in now:
                continue
            rest = [element for element in now if element != one.value]
            if rest or one.had:
                document.set(one.key, rest)
                continue
        elif now != one.value:
            left.append(f"{name} was changed since and stays")
            continue
        elif one.had:
            document.set(one.key, one.old)
            continue
        document.delete(one.key)
        for length in range(len(one.key) - 1, one.tables, -1):
            if locate_value(document.values(), one.key[:length]) != {}:
                break
            document.delete(one.key[:length])
    return tuple(left)


def join_done(first: tuple[Done, ...], second: tuple[Done, ...]) -> tuple[Done, ...]:
    """Two changes of one file as one: what stood there before the first, what we wrote last."""
    merged = {(one.key, one.append, str(one.value) if one.append else ""): one for one in first}
    for one in second:
        place = (one.key, one.append, str(one.value) if one.append else "")
        before = merged.get(place)
        if before is None or (not one.append and (not one.had or one.old != before.value)):
            merged[place] = one
        else:
            merged[place] = before._replace(value=one.value)
    return tuple(merged.values())


def locate_value(values: object, key: Key) -> object:
    """The value at ``key`` in nested tables.

    Raises:
        KeyError: nothing is there.
    """
    for name in key:
        if not isinstance(values, Mapping) or name not in values:
            raise KeyError(key)
        values = values[name]
    return values


def find_value(values: object, key: Key) -> object:
    """The value at ``key``, or None."""
    try:
        return locate_value(values, key)
    except KeyError:
        return None


def _existing(values: object, key: Key) -> int:
    for position, name in enumerate(key):
        if not isinstance(values, Mapping) or name not in values:
            return position
        values = values[name]
    return len(key)
