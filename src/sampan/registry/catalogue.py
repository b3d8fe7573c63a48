"""One question to whichever catalogue knows the answer: NGC's, Docker Hub's, or the registry's own list.

A catalogue tells sizes, dates and signatures; a registry by itself (distribution-spec) tells names of
tags only. What a catalogue does not tell falls back to the registry, with a note that says so.
"""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, NamedTuple

from sampan.errors import UsageError
from sampan.model.reference import DEFAULT_REGISTRY, Reference, parse_reference
from sampan.registry.client import RegistryClient
from sampan.registry.failures import NotFoundError, RegistryError, clean_text
from sampan.registry.hub import list_hub_space, list_hub_tags, search_hub
from sampan.registry.listings import FoundRepository, Space, TagListing
from sampan.registry.ngc import search_ngc
from sampan.registry.ngc_account import list_spaces
from sampan.registry.ngc_api import open_api
from sampan.registry.ngc_config import read_ngc_config
from sampan.registry.ngc_repository import list_ngc_tags
from sampan.registry.origins import find_origin
from sampan.registry.settings import DEFAULT_SETTINGS, NGC, Settings

SEARCHABLE = (NGC, DEFAULT_REGISTRY)
SEARCH_ORDERS = ("relevance", "popular", "date", "name")
TAG_ORDERS = ("date", "name", "size")
_MOST_FOUND = 2_000


class Searched(NamedTuple):
    """Repositories; ``is_cut`` when there are more than were asked for."""

    repositories: tuple[FoundRepository, ...]
    is_cut: bool
    notes: tuple[str, ...]


class Tags(NamedTuple):
    """Tags that fit.

    Attributes:
        total: before they were cut to the limit; None when the rest was not asked for.
        order: how they are ordered in truth.
    """

    tags: tuple[TagListing, ...]
    total: int | None
    order: str
    notes: tuple[str, ...]


class Spaces(NamedTuple):
    """Spaces of NGC's that the user can see."""

    spaces: tuple[Space, ...]
    notes: tuple[str, ...]


def search(
    term: str,
    *,
    registry: str,
    space: str,
    order: str,
    limit: int,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
) -> Searched:
    """Find repositories.

    Args:
        term: words; empty = everything (of the space).
        registry: one of SEARCHABLE.
        space: ORG[/TEAM] at NGC, user or organisation at Docker Hub; empty = everywhere.
        order: one of SEARCH_ORDERS; ``date`` newest first.
        limit: at most so many; 0 = all that a catalogue gives, up to 2,000.
        environment: variables: keys, proxies.
        settings: patience, trust.

    Raises:
        UsageError: a search that Docker Hub does not offer, or of another registry.
        RegistryError: the catalogue cannot be asked, or refuses.
    """
    notes: list[str] = []
    term = _without_registry(term, registry)
    space = space.removeprefix(f"{registry}/").strip("/")
    if space:
        # What goes into a URL's path is checked as what it will be: the beginning of a name.
        parse_reference(f"{registry}/{space}/name")
    wanted = min(limit or _MOST_FOUND, _MOST_FOUND)
    # Catalogues order by relevance and popularity; the rest is ours, over all that they give.
    taken = _MOST_FOUND if order in ("date", "name") else wanted + 1
    if registry == NGC:
        with open_api(environment, repository=space, settings=settings) as api:
            server_order = "popular" if order == "popular" or not term else "relevance"
            found = list(islice(search_ngc(api, term, space=space, order=server_order), taken))
            notes += api.notes
    else:
        found = list(islice(_search_hub(term, space, environment, settings), taken))
    if order == "name":
        found.sort(key=lambda each: each.repository)
    elif order == "date":
        found.sort(key=lambda each: each.updated, reverse=True)
    elif order == "popular":
        found.sort(key=lambda each: each.popularity, reverse=True)
    return Searched(tuple(found[:wanted]), len(found) > wanted, tuple(notes))


def list_tags(
    reference: Reference,
    *,
    order: str,
    limit: int,
    pattern: str,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
) -> Tags:
    """Tags of a repository of any registry.

    Args:
        reference: its tag is not looked at.
        order: one of TAG_ORDERS: newest, greatest name (numbers as numbers) or largest first.
        limit: at most so many; 0 = all.
        pattern: only tags that match it, in the shell's way; empty = all.
        environment: variables: credentials, proxies.
        settings: patience, trust.

    Raises:
        RegistryError: nobody tells.
    """
    # Docker Hub has thousands of some, newest first, and counts its guests' questions.
    enough = limit + 1 if limit and order == "date" and not pattern else None
    listings, notes = _find_tags(reference, enough, environment, settings)
    if pattern:
        listings = [each for each in listings if fnmatchcase(each.tag, pattern)]
    if order == "date" and not any(each.updated for each in listings):
        order = "name"
    if order == "size" and not any(each.size for each in listings):
        order = "name"
        notes.append(f"{reference.registry} does not tell the sizes of tags: ordered by name")
    listings.sort(key=_KEYS[order], reverse=True)
    shown = listings[:limit] if limit else listings
    total = None if len(listings) == enough else len(listings)
    return Tags(tuple(shown), total, order, tuple(notes))


def find_spaces(environment: Mapping[str, str], settings: Settings = DEFAULT_SETTINGS) -> Spaces:
    """NGC's public spaces and, with a key, one's own.

    Raises:
        RegistryError: NGC cannot be asked.
    """
    org = read_ngc_config(environment).org
    with open_api(environment, repository=org, settings=settings) as api:
        return Spaces(tuple(list_spaces(api)), tuple(api.notes))


def open_client(
    reference: Reference, environment: Mapping[str, str], settings: Settings = DEFAULT_SETTINGS
) -> RegistryClient:
    """A client for a repository, with the credentials that are there for it."""
    return RegistryClient(find_origin(reference, environment, settings).origin, environment)


def _without_registry(term: str, registry: str) -> str:
    """Words to search for, without the registry that docker's and podman's users put in front."""
    first, slash, rest = term.partition("/")
    if not slash or not ({".", ":"}.intersection(first) or first == "localhost"):
        return term
    if first == registry:
        return rest
    if first in SEARCHABLE:
        raise UsageError(
            f"{first} is not the registry that is searched", evidence=f"it is {registry}",
            remedy=f"sampan search --registry {first} {rest}",
        )  # fmt: skip
    raise UsageError(
        f"{first} has no catalogue that could be searched",
        evidence=f"those of {' and '.join(SEARCHABLE)} can",
        remedy=f"sampan tags {term}    lists the tags of a repository",
    )


def _search_hub(
    term: str, space: str, environment: Mapping[str, str], settings: Settings
) -> Iterable[FoundRepository]:
    if space:
        words = term.lower().split()
        return (
            found
            for found in list_hub_space(space, environment=environment, settings=settings)
            if all(word in f"{found.repository} {found.description}".lower() for word in words)
        )
    if not term:
        raise UsageError(
            "Docker Hub wants something to search for",
            remedy="sampan search --registry docker.io TERM    (or --space nvidia)",
        )
    return search_hub(term, environment=environment, settings=settings)


def _find_tags(
    reference: Reference,
    enough: int | None,
    environment: Mapping[str, str],
    settings: Settings,
) -> tuple[list[TagListing], list[str]]:
    repository = reference.repository
    notes: list[str] = []
    try:
        if reference.registry == NGC:
            with open_api(environment, repository=repository, settings=settings) as api:
                found = list_ngc_tags(api, repository)
                return found, api.notes
        if reference.registry == DEFAULT_REGISTRY:
            hub = list_hub_tags(repository, environment=environment, settings=settings)
            return list(islice(hub, enough)), notes
    except RegistryError as error:
        # The catalogue is a convenience: the registry itself has the last word.
        notes.append(f"names only, without sizes and dates: {error.cause} ({error.evidence})")
    client = open_client(reference, environment, settings)
    try:
        tags = client.list_tags(repository)
        notes += client.notes
    finally:
        client.close()
    if tags is None:
        raise NotFoundError(
            f"{reference.registry} has no repository {repository}, or hides it",
            evidence="; ".join([f"its tag list of {repository} is not there", *notes]),
            remedy="check the name; sampan search finds names on nvcr.io and docker.io",
        )
    return [TagListing(clean_text(tag)) for tag in tags], notes


def natural_key(tag: str) -> list[tuple[int, int, str]]:
    """A key that orders ``9.1`` before ``12.4`` and ``12.4-rc1`` after ``12.4``."""
    parts: list[tuple[int, int, str]] = []
    word = ""
    was_digit = False
    for character in [*tag, ""]:
        is_digit = character.isascii() and character.isdigit()
        if word and (not character or is_digit != was_digit):
            parts.append((1, int(word[:18]), "") if was_digit else (0, 0, word))
            word = ""
        word += character
        was_digit = is_digit
    return parts


_KEYS: dict[str, Callable[[TagListing], Any]] = {
    "date": lambda each: (each.updated, natural_key(each.tag)),
    "name": lambda each: natural_key(each.tag),
    "size": lambda each: (each.size, natural_key(each.tag)),
}
