"""Reading other programs' configuration of registries: bounded, and a damaged file is a refusal.

A file that says which registries are blocked or trusted must not be passed over in silence.
"""

import json
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sampan.errors import SampanError
from sampan.registry.failures import clean_text

MAXIMUM_FILE = 1 << 20


class RegistryConfigurationError(SampanError):
    """A file that configures registries cannot be read, or says what cannot be."""

    id = "registry-configuration"


def read_toml(path: Path) -> dict[str, Any] | None:
    """A TOML document; None when there is no such file, or it is not for our eyes.

    Raises:
        RegistryConfigurationError: it is damaged or too big.
    """
    return _read(path, lambda content: tomllib.loads(content.decode()), "TOML")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when there is no such file, or it is not for our eyes.

    Raises:
        RegistryConfigurationError: it is damaged or too big.
    """
    return _read(path, json.loads, "JSON")


def text_of(table: Mapping[str, Any], name: str, path: Path) -> str:
    """A text; empty when it is missing.

    Raises:
        RegistryConfigurationError: it is something else.
    """
    value = table.get(name, "")
    if not isinstance(value, str):
        raise wrong(path, f"{name} is no text")
    return value


def flag_of(table: Mapping[str, Any], name: str, path: Path) -> bool:
    """A truth value; False when it is missing.

    Raises:
        RegistryConfigurationError: it is something else.
    """
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise wrong(path, f"{name} is neither true nor false")
    return value


def texts_of(table: Mapping[str, Any], name: str, path: Path) -> tuple[str, ...]:
    """A list of texts, or one text.

    Raises:
        RegistryConfigurationError: it is something else.
    """
    value = table.get(name, [])
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise wrong(path, f"{name} is no list of texts")
    return tuple(value)


def tables_of(table: Mapping[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    """A list of tables.

    Raises:
        RegistryConfigurationError: it is something else.
    """
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise wrong(path, f"{name} is no list of tables")
    return value


def wrong(path: Path, evidence: str) -> RegistryConfigurationError:
    """The refusal of a file."""
    return RegistryConfigurationError(
        f"{path} cannot be used",
        evidence=clean_text(evidence),
        remedy="repair it; SAMPAN_REGISTRIES_CONF=FILE is read in place of all such files",
    )


def _read(path: Path, parse: Callable[[bytes], Any], form: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as stream:
            if not stat.S_ISREG(path.stat().st_mode):
                # /dev/null says: nothing.
                return {}
            content = stream.read(MAXIMUM_FILE + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # What only root may read is for root's programs.
        return None
    except OSError as error:
        raise wrong(path, error.strerror or str(error)) from error
    if len(content) > MAXIMUM_FILE:
        raise wrong(path, f"it has more than {MAXIMUM_FILE:,} bytes")
    if not content.strip():
        return {}
    try:
        document = parse(content)
    except (ValueError, RecursionError) as error:
        raise wrong(path, f"it is no {form}: {error}") from error
    if not isinstance(document, dict):
        raise wrong(path, "it is no table")
    return document
