"""One repository of NGC's catalogue: details, tags with sizes and signatures, terms.

Public repositories are asked for as a guest first: that works with any key and without one. What is
hidden from guests is asked for again as a member of the organisation that the repository is in.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.registry.failures import ForbiddenError, NotFoundError, UnauthorizedError, clean_text
from sampan.registry.listings import (
    PlatformSize,
    TagListing,
    date_of,
    number_of,
    object_of,
    objects_of,
    text_of,
    texts_of,
    truth_of,
)
from sampan.registry.ngc_api import NgcApi

_MOST_PAGES = 500
_HIDDEN = (UnauthorizedError, ForbiddenError, NotFoundError)
_LONGEST_TERMS = 20_000


class NgcNameError(SampanError):
    """The path cannot be a repository of NGC's."""

    id = "image-name"


class Terms(NamedTuple):
    """Terms of a repository: what their acceptance names, what people read, and whether it is due.

    Attributes:
        identity: ``licenseId``, sent back as it came.
        version: ``licenseVersion``, likewise.
        title: for people; empty when NGC gives none.
        text: the governing terms or where they stand; several lines.
    """

    identity: str
    version: str
    title: str
    text: str
    is_due: bool


class NgcRepository(NamedTuple):
    """What the catalogue says of a repository.

    Attributes:
        needs_key: guests may not pull; None when not told.
        updated: ISO 8601, UTC; empty when unknown.
        products: that a key's organisation needs for it.
    """

    repository: str
    title: str
    publisher: str
    latest_tag: str
    updated: str
    needs_key: bool | None
    is_signed: bool | None
    products: tuple[str, ...]
    terms: tuple[Terms, ...]


def find_repository(api: NgcApi, repository: str, *, as_member: bool = False) -> NgcRepository:
    """Details of a repository.

    Args:
        api: a session.
        repository: ``ORG[/TEAM]/NAME``.
        as_member: ask with the key alone; terms that were accepted are known to members only.

    Raises:
        NgcNameError: no path of that form.
        RegistryError: the catalogue does not tell us.
    """
    document, _ = _ask(api, repository, "", {}, as_member=as_member)
    guests = truth_of(document, "canGuestPull")
    return NgcRepository(
        repository,
        title=text_of(document, "displayName"),
        publisher=text_of(document, "publisher"),
        latest_tag=text_of(document, "latestTag"),
        updated=date_of(document, "updatedDate"),
        needs_key=None if guests is None else not guests,
        is_signed=truth_of(document, "hasSignedTag"),
        products=texts_of(document, "productNames"),
        terms=tuple(_read_terms(entry) for entry in objects_of(document, "licenseTerms")),
    )


def list_ngc_tags(api: NgcApi, repository: str) -> list[TagListing]:
    """All tags, in the order in which the catalogue gives them; each once.

    Raises:
        NgcNameError: no path of that form.
        RegistryError: the catalogue does not tell us.
    """
    found: dict[str, TagListing] = {}
    as_member = False
    number = 0
    while number < _MOST_PAGES:
        # The first page has the number 0 and needs none.
        query = {"page-number": str(number)} if number else {}
        document, as_member = _ask(api, repository, "/images", query, as_member=as_member)
        images = list(objects_of(document, "images"))
        for image in images:
            listing = _read_tag(image)
            if listing.tag:
                found.setdefault(listing.tag, listing)
        number += 1
        pages = object_of(document, "paginationInfo")
        total = number_of(pages, "totalResults")
        # Whether pages count from 0 or 1 was never seen: what is missing is asked for once more.
        last = number_of(pages, "totalPages") + (1 if len(found) < total else 0)
        if not images or number >= last:
            break
    return list(found.values())


def accept_terms(api: NgcApi, repository: str, terms: Terms) -> None:
    """Tell NGC that the user has accepted terms.

    Raises:
        NgcNameError: no path of that form.
        RegistryError: NGC does not take it.
    """
    org, team, name = _split(repository)
    team_part = f"/team/{team}" if team else ""
    api.post(
        f"/v2/org/{org}{team_part}/repositories/{name}/license/acceptance",
        {"licenseId": terms.identity, "licenseVersion": terms.version},
        space=f"{org}/{team}" if team else org,
        what=f"accept the terms of {repository}",
    )


def _ask(
    api: NgcApi, repository: str, below: str, query: Mapping[str, str], *, as_member: bool
) -> tuple[dict[str, Any], bool]:
    """A document, and whether it took membership to get it."""
    org, team, name = _split(repository)
    what = f"read {repository} in the catalogue"
    if not as_member:
        try:
            return api.get(f"/v2/repos/{repository}{below}", query, what=what), False
        except _HIDDEN:
            if api.is_guest:
                raise
    path = f"/v2/org/{org}{f'/team/{team}' if team else ''}/repos/{name}{below}"
    space = f"{org}/{team}" if team else org
    return api.get(path, {**query, "resolve-labels": "false"}, space=space, what=what), True


def _split(repository: str) -> tuple[str, str, str]:
    parts = repository.split("/")
    if len(parts) not in (2, 3):
        raise NgcNameError(
            f"{repository!r} is no repository of NGC's",
            evidence=f"it has {len(parts)} part{'' if len(parts) == 1 else 's'}",
            remedy="the form is nvcr.io/ORG[/TEAM]/IMAGE; sampan search finds names",
        )
    return parts[0], parts[1] if len(parts) == 3 else "", parts[-1]


def _read_tag(image: Mapping[str, Any]) -> TagListing:
    platforms = tuple(
        PlatformSize(
            "/".join(
                part
                for part in (
                    text_of(entry, "os") or "linux",
                    text_of(entry, "architecture"),
                    text_of(entry, "variant"),
                )
                if part
            ),
            number_of(entry, "compressedSize"),
            text_of(entry, "digest"),
        )
        for entry in objects_of(image, "architectureVariants")
    )
    release = text_of(image, "releaseType")
    size = number_of(image, "size") or max((entry.size for entry in platforms), default=0)
    return TagListing(
        tag=text_of(image, "tag"),
        digest=text_of(image, "digest"),
        updated=date_of(image, "pushedDate") or date_of(image, "updatedDate"),
        size=size,
        platforms=platforms,
        is_signed=truth_of(image, "isSigned"),
        notes=(release,) if release not in ("", "GA") else (),
    )


def _read_terms(entry: Mapping[str, Any]) -> Terms:
    said = entry.get("governingTerms")
    words = said if isinstance(said, str) else ""
    # Several lines, which people read: each one clean for itself.
    lines = [clean_text(line) for line in words[:_LONGEST_TERMS].splitlines()]
    return Terms(
        identity=text_of(entry, "licenseId"),
        version=text_of(entry, "licenseVersion"),
        title=text_of(entry, "licenseName") or text_of(entry, "name") or text_of(entry, "title"),
        text="\n".join(lines).strip(),
        is_due=truth_of(entry, "needsAcceptance") is not False,
    )
