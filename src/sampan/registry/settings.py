"""How patient we are, what we trust, and where a registry's name leads. Plain values."""

from typing import NamedTuple

from sampan.model.reference import DEFAULT_REGISTRY
from sampan.registry.proxies import is_loopback

NGC = "nvcr.io"
MIRROR_CONNECT_TIMEOUT_S = 5.0
"""Behind a mirror there is another place to ask."""

NGC_SITES = frozenset({
    "ngc.nvidia.com", "catalog.ngc.nvidia.com", "org.ngc.nvidia.com", "api.ngc.nvidia.com",
    "authn.nvidia.com", "layers.nvcr.io",
})  # fmt: skip
"""Hosts of NGC's that are taken for the registry."""

_HOSTS = {DEFAULT_REGISTRY: "registry-1.docker.io"}

TOKEN_HOSTS = {
    NGC: "authn.nvidia.com",
    "registry-1.docker.io": "auth.docker.io",
    "registry.gitlab.com": "gitlab.com",
}
"""Token hosts that belong to a registry on another host."""


class Settings(NamedTuple):
    """Patience and trust.

    Attributes:
        connect_timeout_s: for one connection.
        read_timeout_s: without any byte.
        attempts: of one request, and of one layer without progress, in all.
        pause_s: before the second attempt; doubles, with jitter.
        longest_pause_s: a server that wants a longer wait is not waited for.
        stall_bytes_per_s: slower than this for ``read_timeout_s`` counts as broken.
        certificate_directories: hold ``HOST[:PORT]/*.crt`` (docker's, containers' and containerd's
            certs.d).
        certificate_directory: holds ``*.crt``, ``*.cert`` and ``*.key`` for the registry asked.
        verify: what the user said of TLS; None = what the configuration says.
        past_mirrors: ask the registry itself alone.
        configuration_root: below which ``etc/`` holds other programs' configuration.
        token_hosts: (registry, host) pairs: the user lets the registry's credentials go to that
            token host too.
    """

    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0
    attempts: int = 5
    pause_s: float = 0.5
    longest_pause_s: float = 60.0
    stall_bytes_per_s: float = 1024.0
    certificate_directories: tuple[str, ...] = (
        "/etc/docker/certs.d",
        "/etc/containers/certs.d",
        "/etc/containerd/certs.d",
    )
    certificate_directory: str = ""
    verify: bool | None = None
    past_mirrors: bool = False
    configuration_root: str = "/"
    token_hosts: tuple[tuple[str, str], ...] = ()


DEFAULT_SETTINGS = Settings()


def registry_host(registry: str) -> str:
    """The host, with port, that serves a registry's name."""
    return _HOSTS.get(registry, registry)


def host_name(host: str) -> str:
    """A host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def may_speak_plainly(registry: str) -> bool:
    """Whether http will do: only on this machine, as with docker."""
    return is_loopback(host_name(registry))
