"""Addresses of catalogue pages as names of images: people paste what their browser shows.

NGC's forms by age (field note: registries, 1.1): ``ngc.nvidia.com/catalog/containers/ORG[:TEAM]:NAME``,
``catalog.ngc.nvidia.com/orgs/ORG[/teams/TEAM]/containers/NAME[/TAB]``, and
``catalog.ngc.nvidia.com/orgs/ORG/{TEAM or -}/containers/NAME/{TAG or -}[/TAB]``; each perhaps with
``?version=TAG``. Docker Hub: ``/r/NS/NAME``, ``/_/NAME``, ``/layers/NS/NAME/TAG``.
"""

from urllib.parse import parse_qs, unquote, urlsplit

_NGC_HOSTS = ("catalog.ngc.nvidia.com", "ngc.nvidia.com")
_HUB_HOST = "hub.docker.com"
_REGISTRY = "nvcr.io"
_NO_VALUE = ("", "-")


class CataloguePageError(ValueError):
    """It is a page of a catalogue, but not of a container image."""


def is_catalogue_page(text: str) -> bool:
    """Whether the text begins as the address of a page of NGC's catalogue or of Docker Hub."""
    host, slash, _ = text.removeprefix("https://").removeprefix("http://").partition("/")
    return bool(slash) and host in (*_NGC_HOSTS, _HUB_HOST)


def read_catalogue_page(text: str) -> str:
    """The name of the image that a page shows, with a tag if the address names one; unchecked.

    Raises:
        CataloguePageError: it shows something else.
    """
    address = urlsplit(text if "://" in text else f"https://{text}")
    parts = [unquote(part) for part in address.path.split("/") if part]
    if address.netloc == _HUB_HOST:
        return _read_hub(parts)
    names, tag = _read_ngc(parts)
    version = parse_qs(address.query).get("version", [""])[0]
    if version not in _NO_VALUE:
        tag = version
    return f"{_REGISTRY}/{'/'.join(names)}{f':{tag}' if tag else ''}"


def _read_ngc(parts: list[str]) -> tuple[list[str], str]:
    """Names from the organisation down, and the tag."""
    match parts:
        case ["catalog", "containers", words, *_] if ":" in words or "/" in words:
            return words.replace("/", ":").split(":"), ""
        case ["catalog", "containers", org, name, *_]:
            return [org, name], ""
        case ["orgs", org, "containers", name, *_]:
            return [org, name], ""
        case ["orgs", org, "teams", team, "containers", name, *_]:
            return [org, team, name], ""
        case ["orgs", org, team, "containers", name, *rest]:
            tag = rest[0] if rest and rest[0] not in _NO_VALUE else ""
            return [org, name] if team == "-" else [org, team, name], tag
    raise CataloguePageError("the page is not one of a container")


def _read_hub(parts: list[str]) -> str:
    match parts:
        case ["_", name, *_]:
            return f"docker.io/library/{name}"
        case ["r", space, name, *_] | ["repository", "docker", space, name, *_]:
            return f"docker.io/{space}/{name}"
        case ["layers", space, name, tag, *_]:
            return f"docker.io/{space}/{name}:{tag}"
    raise CataloguePageError("the page is not one of a repository")
