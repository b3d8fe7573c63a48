"""Edits of the two line-wise files of Apptainer: ``name = value`` pairs, and a plain list."""

from collections.abc import Mapping

from sampan.engines.configure.edits import Key


class _Lines:
    """A text that is edited line by line."""

    def __init__(self, text: str, path: str) -> None:
        """Any text is one."""
        del path
        self._lines = text.splitlines(keepends=True)

    def text(self) -> str:
        """The text with all changes so far."""
        return "".join(self._lines)


class PairLines(_Lines):
    """``apptainer.conf``: the last line of a name counts; ``#`` begins a comment."""

    def values(self) -> Mapping[str, object]:
        """Each name with its last value, a text."""
        return {pair[0]: pair[1] for line in self._lines if (pair := _pair(line))}

    def set(self, key: Key, value: object) -> None:
        """Write the value into the line of the name, or a new last line."""
        line = f"{key[0]} = {value}\n"
        for position in range(len(self._lines) - 1, -1, -1):
            pair = _pair(self._lines[position])
            if pair and pair[0] == key[0]:
                self._lines[position] = line
                return
        _end_last(self._lines)
        self._lines.append(line)

    def delete(self, key: Key) -> None:
        """Take the lines of the name away."""
        self._lines = [
            line for line in self._lines if not (pair := _pair(line)) or pair[0] != key[0]
        ]


LIST: Key = ("lines",)
"""The only key of a list of lines."""


class ListLines(_Lines):
    """``nvliblist.conf``: each line that is no comment is an element."""

    def values(self) -> Mapping[str, object]:
        """All elements as one list."""
        return {LIST[0]: [element for line in self._lines if (element := _element(line))]}

    def set(self, key: Key, value: object) -> None:
        """Make the elements those of ``value``: drop lines that are not in it, add new ones."""
        del key
        wanted = [str(element) for element in value] if isinstance(value, list) else []
        self._lines = [
            line for line in self._lines if not (element := _element(line)) or element in wanted
        ]
        present = {_element(line) for line in self._lines}
        for element in wanted:
            if element not in present:
                _end_last(self._lines)
                self._lines.append(f"{element}\n")

    def delete(self, key: Key) -> None:
        """Take all elements away."""
        self.set(key, [])


def _pair(line: str) -> tuple[str, str] | None:
    if line.lstrip().startswith("#") or "=" not in line:
        return None
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _element(line: str) -> str:
    stripped = line.strip()
    return "" if stripped.startswith("#") else stripped


def _end_last(lines: list[str]) -> None:
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
