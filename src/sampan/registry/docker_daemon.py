"""dockerd's ``daemon.json``: mirrors of docker.io, and insecure registries (dockerd's reference).

The daemon applies CIDR ranges to the addresses a name resolves to; here they count for registries
that are named by their address.
"""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from sampan.model.reference import DEFAULT_REGISTRY
from sampan.registry.configuration import read_json, texts_of, wrong
from sampan.registry.endpoints import Endpoint, Route, Trust
from sampan.registry.settings import MIRROR_CONNECT_TIMEOUT_S, host_name, registry_host


def find_in_daemon_json(registry: str, path: Path) -> Route | None:
    """What dockerd's configuration says of a registry; None when nothing.

    Raises:
        RegistryConfigurationError: it is damaged.
    """
    document = read_json(path)
    if document is None:
        return None
    insecure = texts_of(document, "insecure-registries", path)
    mirrors = []
    if registry == DEFAULT_REGISTRY:
        for address in texts_of(document, "registry-mirrors", path):
            parts = urlsplit(address if "://" in address else f"https://{address}")
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
                raise wrong(path, f"{address!r} is no address of a mirror")
            is_open = _is_listed(parts.netloc, insecure)
            mirrors.append(
                Endpoint(
                    parts.netloc,
                    scheme=parts.scheme,
                    api=f"{parts.path.rstrip('/')}/v2",
                    trust=Trust(verify=not is_open),
                    is_insecure=is_open or parts.scheme == "http",
                    is_mirror=True,
                    connect_timeout_s=MIRROR_CONNECT_TIMEOUT_S,
                    source=str(path),
                )
            )
    is_open = _is_listed(registry, insecure)
    if not mirrors and not is_open:
        return None
    place = Endpoint(
        registry_host(registry),
        trust=Trust(verify=not is_open),
        is_insecure=is_open,
        source=str(path),
    )
    return Route(place, tuple(mirrors), str(path))


def _is_listed(registry: str, insecure: tuple[str, ...]) -> bool:
    if registry in (one.rstrip("/").rpartition("//")[2] for one in insecure):
        return True
    try:
        address = ipaddress.ip_address(host_name(registry))
    except ValueError:
        return False
    for one in insecure:
        try:
            if "/" in one and address in ipaddress.ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False
