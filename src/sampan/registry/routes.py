"""Which way leads to an image: what this machine's files say of its registry, and which one counts.

The first of these that speaks of the registry decides alone: containers' registries.conf, containerd's
hosts.toml, dockerd's daemon.json, hosts.toml's ``_default``. SAMPAN_REGISTRIES_CONF names one file in
registries.conf's form that stands in place of them all.
"""

from collections.abc import Mapping
from pathlib import Path

from sampan.registry.auth_files import configuration_home
from sampan.registry.configuration import RegistryConfigurationError
from sampan.registry.docker_daemon import find_in_daemon_json
from sampan.registry.endpoints import Endpoint, Route
from sampan.registry.failures import ForbiddenError
from sampan.registry.hosts_toml import find_default_hosts_toml, find_in_hosts_toml
from sampan.registry.registries_conf import find_in_registries_conf, list_registries_files
from sampan.registry.settings import MIRROR_CONNECT_TIMEOUT_S, Settings, registry_host


class BlockedError(ForbiddenError):
    """This machine's configuration forbids the registry."""

    id = "registry-blocked"


def find_route(name: str, environment: Mapping[str, str], settings: Settings) -> Route:
    """The way to an image; a Route without place and mirrors when nothing is configured.

    Args:
        name: ``registry/repository[:tag][@digest]``.
        environment: SAMPAN_REGISTRIES_CONF, CONTAINERS_REGISTRIES_CONF, where the home is.
        settings: what the user said of trust goes before what files say.

    Raises:
        BlockedError: the image is blocked.
        RegistryConfigurationError: a file is damaged.
    """
    route = _configured(name, environment, Path(settings.configuration_root)) or Route()
    if route.blocked_by:
        raise BlockedError(
            f"{name} is blocked on this machine",
            evidence=f"{route.source}: {route.blocked_by}",
            remedy="ask the machine's administrator",
        )
    place = route.place or Endpoint(registry_host(name.partition("/")[0]))
    return Route(
        _trusting(place, settings),
        tuple(
            _trusting(mirror, settings)._replace(
                connect_timeout_s=mirror.connect_timeout_s or MIRROR_CONNECT_TIMEOUT_S
            )
            for mirror in route.mirrors
        ),
        route.source,
    )


def _configured(name: str, environment: Mapping[str, str], root: Path) -> Route | None:
    if own := environment.get("SAMPAN_REGISTRIES_CONF"):
        if not Path(own).exists():
            raise RegistryConfigurationError(
                f"there is no {own}", evidence="SAMPAN_REGISTRIES_CONF names it"
            )
        return find_in_registries_conf(name, [Path(own)])
    home = configuration_home(environment)
    registry = name.partition("/")[0]
    containerd = root / "etc/containerd/certs.d"
    files = list_registries_files(root, home, environment.get("CONTAINERS_REGISTRIES_CONF", ""))
    return (
        find_in_registries_conf(name, files)
        or find_in_hosts_toml(registry, containerd)
        or find_in_daemon_json(registry, home / "docker/daemon.json")
        or find_in_daemon_json(registry, root / "etc/docker/daemon.json")
        or find_default_hosts_toml(registry, containerd)
    )


def _trusting(endpoint: Endpoint, settings: Settings) -> Endpoint:
    """An endpoint with what the user said: ``--tls-verify``, ``--cert-dir``."""
    trust = endpoint.trust
    if settings.certificate_directory:
        trust = trust._replace(directories=(*trust.directories, settings.certificate_directory))
    if settings.verify is None:
        return endpoint._replace(trust=trust)
    if settings.verify:
        # Not even this machine's own registries are then asked without TLS.
        return endpoint._replace(
            scheme="https", trust=trust._replace(verify=True), is_insecure=False
        )
    return endpoint._replace(trust=trust._replace(verify=False), is_insecure=True)
