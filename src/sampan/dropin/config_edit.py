"""NVIDIA's ``config.toml`` shown and changed, as ``nvidia-ctk config`` does; comments stay."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit

from sampan.dropin.settings import KEYS, WITHOUT_EFFECT, read_settings
from sampan.errors import UsageError
from sampan.kernel.atomic import write_atomic


def edit_config(path: str, changes: Sequence[str], separator: str, output: str) -> str:
    """The file's text after the changes; written to ``output`` if that is named.

    Args:
        path: of the file; absent = the defaults.
        changes: ``KEY=VALUE``, or ``KEY`` alone for true; a list's items stand between separators.
        separator: of a list's items.
        output: path to write; empty = nowhere.

    Raises:
        UsageError: a key that nobody knows, or the file is no TOML.
        SettingsError: a value of the wrong kind.
        OSError: a file cannot be read or written.
    """
    text = Path(path).read_text() if os.path.exists(path) else render_defaults()
    try:
        document = tomlkit.parse(text)
    except ValueError as error:
        raise UsageError(f"{path} is no TOML", evidence=str(error)) from error
    for change in changes:
        key, equals, value = change.partition("=")
        if key not in KEYS and key not in WITHOUT_EFFECT:
            raise UsageError(
                f"no setting is called {key!r}", remedy="nvidia-ctk config default    lists them"
            )
        _set(document, key.split("."), _value(key, value if equals else "true", separator))
    read_settings(document.unwrap())
    rendered = tomlkit.dumps(document)
    if output:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(Path(output), rendered.encode())
    return rendered


def render_defaults() -> str:
    """All that we read, with its default."""
    document = tomlkit.document()
    for key, (_, default) in sorted(KEYS.items(), key=lambda item: "." in item[0]):
        if not key.startswith("sampan.") and default != []:
            _set(document, key.split("."), default)
    return tomlkit.dumps(document)


def _value(key: str, text: str, separator: str) -> Any:
    default = KEYS[key][1] if key in KEYS else text
    if isinstance(default, list):
        return [word for word in text.split(separator) if word]
    if isinstance(default, bool) or text in ("true", "false"):
        if text not in ("true", "false"):
            raise UsageError(f"{key} is true or false, not {text!r}")
        return text == "true"
    return text


def _set(table: Any, names: Sequence[str], value: Any) -> None:
    for name in names[:-1]:
        if name not in table:
            table[name] = tomlkit.table()
        table = table[name]
    table[names[-1]] = value
