"""Places that serve a registry's repositories: the registry itself and its mirrors. Plain values."""

from typing import NamedTuple

from sampan.registry.secret import Credential, Secret


class Trust(NamedTuple):
    """How a host has to prove who it is, on top of the system's authorities and certs.d.

    Attributes:
        verify: False = any certificate will do.
        authorities: PEM files with more authorities.
        certificates: (certificate, key) files with which we prove who we are; the key may be empty
            where one file holds both.
        directories: hold ``*.crt``, ``*.cert`` and ``*.key`` for this host.
    """

    verify: bool = True
    authorities: tuple[str, ...] = ()
    certificates: tuple[tuple[str, str], ...] = ()
    directories: tuple[str, ...] = ()


class Endpoint(NamedTuple):
    """One place; may be pickled and is equal to its like.

    Attributes:
        host: with its port, as it is asked.
        scheme: ``https`` or ``http``; empty = https, and on this machine or with ``is_insecure``
            also http where https is not spoken.
        api: the path before the repository's, ``/v2`` by the specification.
        replaced: the beginning of a repository's path that ``replacement`` takes the place of;
            both empty = the path stays.
        replacement: see ``replaced``.
        query: goes with every request, e.g. ``ns=nvcr.io``, as containerd's mirrors expect.
        headers: go with every request to this host.
        trust: for TLS.
        is_insecure: configured to be asked without proof, and without TLS where it has none.
        is_mirror: its word counts less than the registry's own.
        has_tags: a tag may be resolved here.
        has_digests: what is asked for by digest may be asked for here.
        connect_timeout_s: 0 = the settings'.
        credential: for this host alone.
        source: the file that names it; empty for what nobody configured.
    """

    host: str
    scheme: str = ""
    api: str = "/v2"
    replaced: str = ""
    replacement: str = ""
    query: str = ""
    headers: tuple[tuple[str, Secret], ...] = ()
    trust: Trust = Trust()
    is_insecure: bool = False
    is_mirror: bool = False
    has_tags: bool = True
    has_digests: bool = True
    connect_timeout_s: float = 0.0
    credential: Credential | None = None
    source: str = ""

    def repository(self, name: str) -> str:
        """A repository's path at this place."""
        if not self.replaced and not self.replacement:
            return name
        rest = name.removeprefix(self.replaced).strip("/")
        return "/".join(part for part in (self.replacement, rest) if part)


class Route(NamedTuple):
    """The way to an image.

    Attributes:
        place: where the registry really is; None = nothing was configured.
        mirrors: asked before it, in this order.
        source: the file that says so.
        blocked_by: the entry that forbids the image; empty = it is allowed.
    """

    place: Endpoint | None = None
    mirrors: tuple[Endpoint, ...] = ()
    source: str = ""
    blocked_by: str = ""
