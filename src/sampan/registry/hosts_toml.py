"""containerd's ``certs.d/HOST/hosts.toml`` (its docs/hosts.md): mirrors with their own trust.

The directory of a host with a port is written ``HOST_PORT_`` or ``HOST:PORT``; ``_default`` serves
the registries that have none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sampan.registry.configuration import flag_of, read_toml, text_of, texts_of, wrong
from sampan.registry.endpoints import Endpoint, Route, Trust
from sampan.registry.secret import Secret
from sampan.registry.settings import MIRROR_CONNECT_TIMEOUT_S, may_speak_plainly, registry_host

_CAPABILITIES = frozenset({"pull", "resolve", "push"})
_DURATIONS = (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0))


def find_in_hosts_toml(registry: str, directory: Path) -> Route | None:
    """What the registry's own hosts.toml says.

    Raises:
        RegistryConfigurationError: it is damaged.
    """
    host, colon, port = registry.rpartition(":")
    names = [f"{host}_{port}_"] if colon and port.isdigit() else []
    for name in (*names, registry):
        route = _read(registry, directory / name / "hosts.toml")
        if route is not None:
            return route
    return None


def find_default_hosts_toml(registry: str, directory: Path) -> Route | None:
    """What ``_default/hosts.toml`` says.

    Raises:
        RegistryConfigurationError: it is damaged.
    """
    return _read(registry, directory / "_default" / "hosts.toml")


def _read(registry: str, path: Path) -> Route | None:
    document = read_toml(path)
    if document is None:
        return None
    hosts = document.get("host", {})
    if not isinstance(hosts, dict) or not all(isinstance(one, dict) for one in hosts.values()):
        raise wrong(path, "host is no table of tables")
    # containerd asks the hosts in the order in which they are written.
    mirrors = [_endpoint(url, table, path, registry) for url, table in hosts.items()]
    place = _endpoint(text_of(document, "server", path) or registry_host(registry), document, path)
    return Route(place, tuple(one for one in mirrors if one.has_tags or one.has_digests), str(path))


def _endpoint(address: str, table: Mapping[str, Any], path: Path, mirrored: str = "") -> Endpoint:
    scheme, host, api = _split(address, path)
    if not flag_of(table, "override_path", path) and not api.endswith("/v2"):
        api += "/v2"
    capabilities = set(texts_of(table, "capabilities", path)) or _CAPABILITIES
    timeout = _seconds(text_of(table, "dial_timeout", path), path)
    return Endpoint(
        host,
        scheme=scheme,
        api=api,
        query=f"ns={quote(mirrored)}" if mirrored else "",
        headers=_headers(table, path),
        trust=Trust(
            verify=not flag_of(table, "skip_verify", path),
            authorities=tuple(str(path.parent / one) for one in texts_of(table, "ca", path)),
            certificates=_pairs(table.get("client", []), path),
        ),
        is_insecure=scheme == "http",
        is_mirror=bool(mirrored),
        has_tags="resolve" in capabilities,
        has_digests="pull" in capabilities,
        connect_timeout_s=timeout or (MIRROR_CONNECT_TIMEOUT_S if mirrored else 0.0),
        source=str(path),
    )


def _split(address: str, path: Path) -> tuple[str, str, str]:
    """Scheme, host and path of a host's address; without a scheme https, as containerd has it."""
    parts = urlsplit(address if "://" in address else f"https://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise wrong(path, f"{address!r} is no address of a registry")
    scheme = parts.scheme
    if "://" not in address and may_speak_plainly(parts.netloc):
        scheme = ""
    return scheme, registry_host(parts.netloc), parts.path.rstrip("/")


def _headers(table: Mapping[str, Any], path: Path) -> tuple[tuple[str, Secret], ...]:
    found = table.get("header", {})
    if not isinstance(found, dict):
        raise wrong(path, "header is no table")
    # A header may well be a key.
    return tuple((name, Secret(", ".join(texts_of(found, name, path)))) for name in found)


def _pairs(value: object, path: Path) -> tuple[tuple[str, str], ...]:
    pairs = []
    for one in value if isinstance(value, list) else [value]:
        files = one if isinstance(one, list) else [one]
        if not 1 <= len(files) <= 2 or not all(isinstance(file, str) for file in files):
            raise wrong(path, "client is no list of files or of pairs of files")
        names = [str(path.parent / file) if file else "" for file in (*files, "")[:2]]
        pairs.append((names[0], names[1]))
    return tuple(pairs)


def _seconds(text: str, path: Path) -> float:
    """A duration as Go writes simple ones: ``500ms``, ``3s``, ``1m``."""
    if not text:
        return 0.0
    for unit, factor in _DURATIONS:
        number = text.removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit() and number.isascii():
            return float(number) * factor
    raise wrong(path, f"dial_timeout is {text!r}")
