"""What catalogues tell of repositories, tags and spaces: plain records, and how strangers' JSON is read.

Every text here came from the network and is already one short printable line.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sampan.registry.failures import clean_text


class FoundRepository(NamedTuple):
    """A repository that a catalogue knows.

    Attributes:
        registry: as in references.
        repository: path in it, e.g. ``nvidia/pytorch``.
        title: its name for people; may be empty.
        latest_tag: newest tag as the catalogue says; empty when it does not.
        updated: ISO 8601, UTC; empty when unknown.
        size: bytes of the newest tag, compressed; 0 when unknown.
        popularity: greater is more popular; comparable inside one registry only.
        is_signed: None when the catalogue does not say.
        is_official: whether the registry vouches for it (Docker Hub); False elsewhere.
    """

    registry: str
    repository: str
    title: str
    description: str
    latest_tag: str
    updated: str
    size: int
    popularity: float
    is_signed: bool | None = None
    is_official: bool = False


class PlatformSize(NamedTuple):
    """One image of a tag: platform in Go's words, compressed bytes, digest ("" when not told)."""

    platform: str
    size: int
    digest: str


class TagListing(NamedTuple):
    """A tag.

    Attributes:
        digest: of what the tag names; empty when not told.
        updated: ISO 8601, UTC; empty when unknown.
        size: compressed bytes; of the largest platform where there are several; 0 when unknown.
        is_signed: None when the catalogue does not say.
        notes: what else the catalogue says, e.g. ``BETA``.
    """

    tag: str
    digest: str = ""
    updated: str = ""
    size: int = 0
    platforms: tuple[PlatformSize, ...] = ()
    is_signed: bool | None = None
    notes: tuple[str, ...] = ()


class Space(NamedTuple):
    """A part of a registry that the user can see.

    Attributes:
        name: ORG or ORG/TEAM.
        title: its name for people; may be empty.
        images: how many repositories; None when the catalogue does not say.
        is_own: whether the user belongs to it.
        roles: of the user there.
    """

    name: str
    title: str
    images: int | None
    is_own: bool
    roles: tuple[str, ...] = ()


def text_of(document: Mapping[str, Any], name: str) -> str:
    """A member as one clean line; empty when it is no text or number."""
    found = document.get(name)
    if isinstance(found, bool) or not isinstance(found, (str, int, float)):
        return ""
    return clean_text(str(found))


def number_of(document: Mapping[str, Any], name: str) -> int:
    """A member as a whole number from 0, which NGC writes as text too; 0 when it is none."""
    found = document.get(name)
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found[:18])
    if isinstance(found, bool) or not isinstance(found, int):
        return 0
    return found if 0 <= found < 10**18 else 0


def weight_of(document: Mapping[str, Any], name: str) -> float:
    """A member as a number; 0 when it is none."""
    found = document.get(name)
    return float(found) if isinstance(found, (int, float)) and abs(found) < 1e18 else 0.0


def truth_of(document: Mapping[str, Any], name: str) -> bool | None:
    """A member as a truth value, which NGC writes as text too; None when it is none."""
    found = document.get(name)
    if isinstance(found, str):
        return {"true": True, "false": False}.get(found.lower())
    return found if isinstance(found, bool) else None


def date_of(document: Mapping[str, Any], name: str) -> str:
    """A member as ``YYYY-MM-DDTHH:MM:SSZ``; empty when it is no date.

    Dates are compared as text later, so that all have one form and one zone.
    """
    found = document.get(name)
    if not isinstance(found, str) or len(found) > 64:
        return ""
    # Go prints nanoseconds, which Python does not read.
    seconds, _, fraction = found.partition(".")
    try:
        moment = datetime.fromisoformat(seconds + fraction.lstrip("0123456789"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return ""


def objects_of(document: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The objects of a member that is a list; what is no object is left out."""
    found = document.get(name)
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, dict):
            yield entry


def object_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object; empty when it is none."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def pairs_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A list of ``{"key": …, "value": …}`` as a dictionary."""
    return {str(pair.get("key")): pair.get("value") for pair in objects_of(document, name)}


def texts_of(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The texts of a member that is a list, each one clean line."""
    found = document.get(name)
    return tuple(
        clean_text(entry)
        for entry in (found if isinstance(found, list) else ())
        if isinstance(entry, str)
    )
