"""Docker Hub's catalogue (hub.docker.com) and its limits. Everything is asked as a guest.

The catalogue's API is another host than the registry and knows other accounts' tokens: no
credential goes there. What it hides (private repositories) the registry itself still lists.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from sampan.model.reference import DEFAULT_REGISTRY, ImageNameError, parse_reference
from sampan.registry.catalogue_answers import read_answer
from sampan.registry.failures import (
    NotFoundError,
    Refusal,
    clean_text,
    explain_refusal,
    plain_url,
)
from sampan.registry.listings import (
    FoundRepository,
    PlatformSize,
    TagListing,
    date_of,
    number_of,
    objects_of,
    text_of,
    truth_of,
    weight_of,
)
from sampan.registry.settings import DEFAULT_SETTINGS, Settings
from sampan.registry.transport import Transport

_API = "https://hub.docker.com"
_MAXIMUM_BODY = 8 << 20
_PAGE_SIZE = 100
_MOST_PAGES = 100
_FEW = 0.2


class RateLimit(NamedTuple):
    """How many manifests may still be asked for.

    Attributes:
        allowed: in one window.
        remaining: of these.
        window_s: length of a window in seconds; 0 when not told.
        source: what the count is kept for, an address or an account; may be empty.
    """

    allowed: int
    remaining: int
    window_s: int
    source: str = ""

    @property
    def is_short(self) -> bool:
        """Whether it will soon bite."""
        return self.remaining <= self.allowed * _FEW

    def describe(self) -> str:
        """One sentence."""
        hours = f" in {self.window_s / 3600:.3g} hours" if self.window_s else ""
        whose = f" for {self.source}" if self.source else ""
        return f"{self.remaining} of {self.allowed} pulls{hours} are left{whose}"


def read_rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """The limit that an answer's headers (names in lower case) tell of; None without one.

    ``ratelimit-limit: 100;w=21600``, ``ratelimit-remaining: 97;w=21600``,
    ``docker-ratelimit-source: ADDRESS``; read from the answer, since the numbers have changed.
    """
    allowed, window = _read_limit(headers.get("ratelimit-limit", ""))
    remaining, _ = _read_limit(headers.get("ratelimit-remaining", ""))
    if allowed is None or remaining is None:
        return None
    return RateLimit(
        allowed, remaining, window, clean_text(headers.get("docker-ratelimit-source", ""))
    )


def search_hub(
    term: str, *, environment: Mapping[str, str], settings: Settings = DEFAULT_SETTINGS
) -> Iterator[FoundRepository]:
    """Repositories that fit a term, page by page as they are wanted; Docker Hub's own order.

    Raises:
        RegistryError: Docker Hub cannot be asked, or refuses.
    """
    pages = _pages("/v2/search/repositories/", {"query": term}, f"search for {term}", environment, settings)  # fmt: skip
    for entry in pages:
        name = text_of(entry, "repo_name")
        found = _read_repository(
            name if "/" in name else f"library/{name}", entry, "short_description"
        )
        if found is not None:
            yield found


def list_hub_space(
    space: str, *, environment: Mapping[str, str], settings: Settings = DEFAULT_SETTINGS
) -> Iterator[FoundRepository]:
    """The public repositories of a user or organisation, e.g. ``nvidia``.

    Raises:
        RegistryError: Docker Hub cannot be asked, or knows no such space.
    """
    path = f"/v2/repositories/{quote(space, safe='')}/"
    for entry in _pages(path, {}, f"list {space}", environment, settings):
        found = _read_repository(f"{space}/{text_of(entry, 'name')}", entry, "description")
        if found is not None:
            yield found


def list_hub_tags(
    repository: str, *, environment: Mapping[str, str], settings: Settings = DEFAULT_SETTINGS
) -> Iterator[TagListing]:
    """Tags of a public repository, newest first, page by page as they are wanted.

    Raises:
        RegistryError: Docker Hub cannot be asked, or shows no such repository.
    """
    path = f"/v2/repositories/{repository}/tags"
    for entry in _pages(path, {}, f"list the tags of {repository}", environment, settings):
        listing = _read_tag(entry)
        if listing.tag:
            yield listing


def _pages(
    path: str,
    query: Mapping[str, str],
    what: str,
    environment: Mapping[str, str],
    settings: Settings,
) -> Iterator[dict[str, Any]]:
    transport = Transport(settings, environment)
    try:
        for number in range(1, _MOST_PAGES + 1):
            # Its own word for the next page is not followed: it could lead anywhere.
            parameters = {**query, "page": str(number), "page_size": str(_PAGE_SIZE)}
            document = _ask(transport, f"{_API}{path}?{urlencode(parameters)}", what)
            yield from objects_of(document, "results")
            if not document.get("next"):
                return
    finally:
        transport.close()


def _ask(transport: Transport, url: str, what: str) -> dict[str, Any]:
    answer = transport.request(
        "GET", url, headers={"Accept": "application/json"}, limit=_MAXIMUM_BODY
    )
    if answer.status == 404:
        raise NotFoundError(
            f"Docker Hub shows nothing of that name: cannot {what}",
            evidence=f"{plain_url(answer.url)} answered 404",
            remedy="sampan search --registry docker.io TERM",
        )
    if answer.status != 200:
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        raise explain_refusal(refusal, registry=DEFAULT_REGISTRY, repository="", what=what)
    return read_answer(answer, "Docker Hub")


def _read_repository(
    name: str, entry: Mapping[str, Any], description: str
) -> FoundRepository | None:
    try:
        reference = parse_reference(f"{DEFAULT_REGISTRY}/{name}")
    except ImageNameError:
        return None
    if reference.repository != name:
        return None
    return FoundRepository(
        registry=DEFAULT_REGISTRY,
        repository=name,
        title="",
        description=text_of(entry, description),
        latest_tag="",
        updated=date_of(entry, "last_updated"),
        size=0,
        popularity=weight_of(entry, "pull_count"),
        is_official=truth_of(entry, "is_official") is True,
    )


def _read_tag(entry: Mapping[str, Any]) -> TagListing:
    platforms = tuple(
        PlatformSize(
            "/".join(
                part
                for part in (text_of(i, "os"), text_of(i, "architecture"), text_of(i, "variant"))
                if part
            ),
            number_of(i, "size"),
            text_of(i, "digest"),
        )
        # Attestations have an unknown platform.
        for i in objects_of(entry, "images")
        if text_of(i, "architecture") not in ("", "unknown")
    )
    size = max((platform.size for platform in platforms), default=0)
    return TagListing(
        tag=text_of(entry, "name"),
        digest=text_of(entry, "digest"),
        updated=date_of(entry, "tag_last_pushed") or date_of(entry, "last_updated"),
        size=size or number_of(entry, "full_size"),
        platforms=platforms,
    )


def _read_limit(text: str) -> tuple[int | None, int]:
    number, _, rest = text.partition(";")
    if not (number.strip().isascii() and number.strip().isdigit()):
        return None, 0
    window = rest.strip().removeprefix("w=")
    is_number = window.isascii() and window.isdigit()
    return int(number.strip()[:9]), int(window[:9]) if is_number else 0
