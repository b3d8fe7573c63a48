"""containers-registries.conf(5), version 2: mirrors, locations, insecure and blocked registries.

Not read: ``unqualified-search-registries`` and ``[aliases]``. A name without a registry is docker.io's
here, on every machine: what an image's name means must not depend on where it is typed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sampan.registry.configuration import (
    RegistryConfigurationError,
    flag_of,
    read_toml,
    tables_of,
    text_of,
    texts_of,
    wrong,
)
from sampan.registry.endpoints import Endpoint, Route, Trust
from sampan.registry.settings import registry_host

_FROM_MIRROR = ("", "all", "digest-only", "tag-only")


class _Found(NamedTuple):
    table: Mapping[str, Any]
    prefix: str
    path: Path


def find_in_registries_conf(name: str, files: list[Path]) -> Route | None:
    """What the table with the longest fitting prefix says of an image.

    Args:
        name: ``registry/repository[:tag][@digest]``.
        files: the later goes before the earlier where both have the same prefix.

    Raises:
        RegistryConfigurationError: a file is damaged, or two of its settings contradict.
    """
    best: _Found | None = None
    for path in files:
        document = read_toml(path)
        if document is None:
            continue
        for found in _tables(document, path):
            fits = _fits(name, found.prefix)
            if fits and (best is None or len(found.prefix) >= len(best.prefix)):
                best = found
    return None if best is None else _route(name, best)


def _tables(document: Mapping[str, Any], path: Path) -> Iterator[_Found]:
    for table in tables_of(document, "registry", path):
        prefix = text_of(table, "prefix", path) or text_of(table, "location", path)
        if not prefix or "://" in prefix or ("*" in prefix and not _is_wildcard(prefix)):
            raise wrong(path, f"a [[registry]] has the prefix {prefix!r}")
        yield _Found(table, prefix.rstrip("/"), path)
    # Version 1 had three lists.
    old = document.get("registries")
    if isinstance(old, dict):
        for word in ("insecure", "block"):
            part = old.get(word)
            names = texts_of(part, "registries", path) if isinstance(part, dict) else ()
            for one in names:
                yield _Found({"blocked" if word == "block" else "insecure": True}, one, path)


def _is_wildcard(prefix: str) -> bool:
    return prefix.startswith("*.") and not {"*", "/", ":"} & set(prefix[1:])


def _fits(name: str, prefix: str) -> bool:
    if prefix.startswith("*."):
        return name.partition("/")[0].partition(":")[0].endswith(prefix[1:])
    if not name.startswith(prefix):
        return False
    # After a host a colon begins a port, and that is another registry.
    return name[len(prefix) :][:1] in (("", "/", ":", "@") if "/" in prefix else ("", "/"))


def _route(name: str, found: _Found) -> Route:
    table, path = found.table, found.path
    if flag_of(table, "blocked", path):
        return Route(source=str(path), blocked_by=found.prefix)
    by_digest_only = flag_of(table, "mirror-by-digest-only", path)
    mirrors = []
    for mirror in tables_of(table, "mirror", path):
        policy = text_of(mirror, "pull-from-mirror", path)
        if policy not in _FROM_MIRROR:
            raise wrong(path, f"pull-from-mirror is {policy!r}")
        if policy and by_digest_only:
            raise wrong(path, "pull-from-mirror and mirror-by-digest-only exclude each other")
        if policy == "tag-only" and "@" in name:
            continue
        if not text_of(mirror, "location", path):
            raise wrong(path, f"a mirror of {found.prefix} has no location")
        place = _endpoint(mirror, name, found)
        has_tags = not by_digest_only and policy != "digest-only"
        mirrors.append(place._replace(is_mirror=True, has_tags=has_tags))
    return Route(_endpoint(table, name, found), tuple(mirrors), str(path))


def _endpoint(table: Mapping[str, Any], name: str, found: _Found) -> Endpoint:
    """Where a location is: the prefix of the name is replaced by it."""
    location = text_of(table, "location", found.path).rstrip("/")
    if "://" in location or "@" in location:
        raise wrong(found.path, f"a location is {location!r}: host and path alone are wanted")
    insecure = flag_of(table, "insecure", found.path)
    host, _, replacement = location.partition("/")
    replaced = found.prefix.partition("/")[2].partition("@")[0].partition(":")[0]
    if not location:
        host, replacement = name.partition("/")[0], replaced
    if replaced == replacement:
        replaced = replacement = ""
    return Endpoint(
        registry_host(host),
        replaced=replaced,
        replacement=replacement,
        trust=Trust(verify=not insecure),
        is_insecure=insecure,
        source=str(found.path),
    )


def list_registries_files(root: Path, configuration_home: Path, explicit: str) -> list[Path]:
    """The files in containers' order: one main file, then drop-ins, the user's last."""
    main = configuration_home / "containers" / "registries.conf"
    if explicit:
        main = Path(explicit)
        if not main.exists():
            raise RegistryConfigurationError(
                f"there is no {main}", evidence="CONTAINERS_REGISTRIES_CONF names it"
            )
    elif not main.is_file():
        main = root / "etc/containers/registries.conf"
    places = (root / "etc/containers", configuration_home / "containers")
    drop_ins = [sorted((place / "registries.conf.d").glob("*.conf")) for place in places]
    return [main, *drop_ins[0], *drop_ins[1]]
