"""NGC's catalogue: search, and the repositories of a space (field note: registries, 1.4 and 1.5).

Guests see what is public. With a key the organisation's own repositories are asked for first.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from sampan.model.reference import ImageNameError, parse_reference
from sampan.registry.failures import ForbiddenError, NotFoundError, UnauthorizedError
from sampan.registry.listings import (
    FoundRepository,
    date_of,
    number_of,
    objects_of,
    pairs_of,
    text_of,
    truth_of,
    weight_of,
)
from sampan.registry.ngc_api import NgcApi, open_api
from sampan.registry.settings import DEFAULT_SETTINGS, NGC, Settings

PUBLIC_SPACES = {
    "nvidia": "frameworks, CUDA, tools",
    "hpc": "GPU applications of science and engineering",
    "nvidia-hpcvis": "visualisation",
    "nim": "inference services (key and terms)",
    "partners": "of NVIDIA's partners",
}
"""Organisations whose repositories are in the public catalogue, and what they hold."""

_PAGE_SIZE = 100
_MOST_PAGES = 200
_CATALOGUE = "/v2/search/catalog/resources/CONTAINER"
_GROUP = "CONTAINER"


class SpaceImage(NamedTuple):
    """A repository of a space: path in the registry, newest tag, date of it (ISO 8601, UTC).

    The last two are empty where the catalogue does not say.
    """

    repository: str
    latest_tag: str
    updated: str


class Page(NamedTuple):
    """One page of a search: what it holds, how much there is in all, and whether it is the last."""

    found: tuple[FoundRepository, ...]
    total: int
    is_last: bool


def list_images_of_space(
    org: str,
    team: str | None = None,
    *,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
) -> Iterator[SpaceImage]:
    """All repositories of an organisation or team that we can see, most popular first.

    Args:
        org: e.g. ``nvidia``.
        team: e.g. ``clara``; None = the organisation with all its teams.
        environment: variables: the key, proxies.
        settings: patience, trust.

    Raises:
        RegistryError: the catalogue cannot be asked, or refuses.
    """
    space = f"{org}/{team}" if team else org
    with open_api(environment, repository=space, settings=settings) as api:
        for found in search_ngc(api, space=space, order="popular"):
            yield SpaceImage(found.repository, found.latest_tag, found.updated)


def search_ngc(
    api: NgcApi, term: str = "", *, space: str = "", order: str = "relevance"
) -> Iterator[FoundRepository]:
    """Repositories of the catalogue, page by page as they are wanted; each once.

    Args:
        api: a session.
        term: words; empty = everything.
        space: ORG or ORG/TEAM; empty = all.
        order: ``relevance`` or ``popular``.

    Raises:
        RegistryError: the catalogue cannot be asked, or refuses.
    """
    seen: set[str] = set()
    own = _asks_as_member(api, space)
    for number in range(_MOST_PAGES):
        try:
            page = find_page(api, term, space=space, order=order, number=number, own=own)
        except (UnauthorizedError, ForbiddenError, NotFoundError) as error:
            if not own or number:
                raise
            # Not our organisation: what it shows to everybody is still there.
            api.notes.append(f"only what {space} shows to everybody: {error.evidence}")
            own = False
            page = find_page(api, term, space=space, order=order, number=0, own=False)
        for found in page.found:
            if found.repository not in seen and _is_in(found.repository, space):
                seen.add(found.repository)
                yield found
        if page.is_last:
            return


def find_page(
    api: NgcApi,
    term: str,
    *,
    space: str,
    order: str,
    number: int,
    own: bool,
    size: int = _PAGE_SIZE,
) -> Page:
    """One page of a search; ``own`` asks as a member of the space.

    Raises:
        RegistryError: the catalogue cannot be asked, or refuses.
    """
    org, _, team = space.partition("/")
    query: dict[str, Any] = {
        # The API wants JSON: a bare word is answered with 400.
        "query": term or "*:*",
        "orderBy": [{"field": "weightPopular" if order == "popular" else "score", "value": "DESC"}],
        "page": number,
        "pageSize": size,
    }
    path = _CATALOGUE
    if own:
        path = f"/v2/search/org/{org}{f'/team/{team}' if team else ''}/resources/CONTAINER"
    elif org:
        query["filters"] = [{"field": "orgName", "value": org}]
    document = api.get(
        path,
        {"q": json.dumps(query, separators=(",", ":"))},
        space=space if own else "",
        what=f"search {space or 'the catalogue'}",
    )
    groups = list(objects_of(document, "results"))
    # The group ``_scored`` repeats hits of the others.
    chosen = [group for group in groups if group.get("groupValue") == _GROUP] or groups
    resources = [entry for group in chosen for entry in objects_of(group, "resources")]
    total = max((number_of(group, "totalCount") for group in chosen), default=0)
    return Page(
        tuple(found for entry in resources if (found := _read(entry)) is not None),
        total or number_of(document, "resultTotal"),
        not resources or number + 1 >= number_of(document, "resultPageTotal"),
    )


def count_images(api: NgcApi, space: str, *, own: bool) -> int:
    """How many repositories a space has.

    Raises:
        RegistryError: the catalogue cannot be asked, or refuses.
    """
    if "/" not in space or own:
        return find_page(api, "", space=space, order="popular", number=0, own=own, size=1).total
    # The public catalogue is not filtered by team.
    return sum(1 for _ in islice(search_ngc(api, space=space, order="popular"), 10_000))


def _asks_as_member(api: NgcApi, space: str) -> bool:
    return bool(space) and not api.is_guest and space.partition("/")[0] not in PUBLIC_SPACES


def _is_in(repository: str, space: str) -> bool:
    return not space or repository.startswith(f"{space}/")


def _read(resource: Mapping[str, Any]) -> FoundRepository | None:
    """A resource of the search; None when its id cannot be a repository."""
    name = text_of(resource, "resourceId")
    try:
        reference = parse_reference(f"{NGC}/{name}")
    except ImageNameError:
        return None
    if reference.repository != name or name.count("/") not in (1, 2):
        return None
    attributes = pairs_of(resource, "attributes")
    return FoundRepository(
        registry=NGC,
        repository=name,
        title=text_of(resource, "displayName"),
        description=text_of(resource, "description"),
        latest_tag=text_of(attributes, "latestTag"),
        updated=date_of(attributes, "latestTagPushedDate") or date_of(resource, "dateModified"),
        size=number_of(attributes, "size"),
        popularity=weight_of(resource, "weightPopular"),
        is_signed=truth_of(attributes, "hasSignedTag"),
    )
