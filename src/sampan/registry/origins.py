"""From a name to who serves it and who we are there: configuration and credentials joined.

Credentials belong to the host that is really asked: a mirror gets its own, never the registry's.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sampan.model.reference import DEFAULT_REGISTRY, Reference
from sampan.registry.auth_files import configuration_home
from sampan.registry.client import Origin
from sampan.registry.credentials import find_credential, find_token_hosts
from sampan.registry.endpoints import Endpoint
from sampan.registry.failures import UnauthorizedError
from sampan.registry.routes import find_route
from sampan.registry.secret import Credential
from sampan.registry.settings import DEFAULT_SETTINGS, Settings, registry_host
from sampan.registry.shared_clients import close_client


class FoundOrigin(NamedTuple):
    """An origin, and the places of credentials that could not be asked."""

    origin: Origin
    problems: tuple[str, ...]


def find_origin(
    reference: Reference,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
    *,
    is_push: bool = False,
) -> FoundOrigin:
    """All that a client of a reference's registry needs.

    Args:
        reference: an image or repository.
        environment: variables: credentials, where files are.
        settings: patience, trust; what the user said of TLS.
        is_push: the registry itself is meant, as with podman: no mirror, no other location.

    Raises:
        CredentialError: our own file is damaged or open to others.
        BlockedError: this machine's configuration forbids the image.
        RegistryConfigurationError: a file that configures registries is damaged.
    """
    registry = reference.registry
    route = find_route(f"{reference.name}{_tail(reference)}", environment, settings)
    place = route.place
    assert place is not None
    if is_push and place.host != registry_host(registry):
        place = Endpoint(registry_host(registry), trust=place.trust)
    problems: list[str] = []
    own = find_credential(registry, reference.repository, environment)
    problems += own.problems
    credential = own.credential
    if place.host != registry_host(registry):
        credential = _credential_of(place, reference.repository, environment, problems)
    asks_mirrors = not (is_push or settings.past_mirrors)
    mirrors = tuple(
        mirror._replace(
            credential=_credential_of(mirror, reference.repository, environment, problems)
        )
        for mirror in route.mirrors
        if asks_mirrors
    )
    home = configuration_home(environment)
    chosen = settings._replace(
        token_hosts=settings.token_hosts + find_token_hosts(environment),
        certificate_directories=(
            *settings.certificate_directories,
            str(home / "containers" / "certs.d"),
            str(home / "docker" / "certs.d"),
        ),
    )
    origin = Origin(registry, credential, chosen, place, mirrors)
    return FoundOrigin(origin, tuple(dict.fromkeys(problems)))


@contextlib.contextmanager
def open_origin(
    reference: Reference,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
    *,
    is_push: bool = False,
) -> Iterator[Origin]:
    """The origin of a reference; its shared client lasts no longer than the context.

    A refusal for want of a login also names the places of credentials that could not be asked.

    Args:
        reference: an image or repository.
        environment: variables: credentials, where files are.
        settings: patience, trust.
        is_push: the registry itself is meant, no mirror.

    Raises:
        SampanError: this machine's configuration cannot be read, or forbids the image.
    """
    origin, problems = find_origin(reference, environment, settings, is_push=is_push)
    try:
        yield origin
    except UnauthorizedError as error:
        if problems:
            error.evidence = "; ".join((error.evidence, *problems))
        raise
    finally:
        close_client(origin)


def _tail(reference: Reference) -> str:
    tag = f":{reference.tag}" if reference.tag else ""
    return f"{tag}@{reference.digest}" if reference.digest else tag


def _credential_of(
    endpoint: Endpoint, repository: str, environment: Mapping[str, str], problems: list[str]
) -> Credential | None:
    name = endpoint.host
    if name == registry_host(DEFAULT_REGISTRY):
        name = DEFAULT_REGISTRY
    found = find_credential(name, endpoint.repository(repository), environment, named_only=True)
    problems += found.problems
    return found.credential
