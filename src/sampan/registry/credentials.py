"""Who we are at a registry: found where people keep it, stored by ``login``, removed by ``logout``.

Order: NGC's keys in the environment; our own file with what it says of the key ring; containers' files,
docker's, Apptainer's and Singularity's, of each the entries for a path before the helper that it names;
Enroot's; the ngc program's; last Apptainer's variables, which name no registry.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from sampan.registry.auth_files import (
    AuthFile,
    CredentialError,
    key_name,
    load_files,
    load_ours,
    texts_of,
)
from sampan.registry.helpers import ask_helper
from sampan.registry.key_ring import read_key_ring
from sampan.registry.netrc_file import enroot_file, find_in_netrc
from sampan.registry.ngc_config import ngc_config_path, read_ngc_config
from sampan.registry.secret import Credential, Secret
from sampan.registry.settings import NGC, TOKEN_HOSTS, registry_host

NGC_USER = "$oauthtoken"
"""The literal user name with every key of NGC's; shells eat it, so nobody is asked for it."""

_NGC_VARIABLES = ("NGC_API_KEY", "NGC_CLI_API_KEY", "NGC_APP_KEY")
_UNNAMED_VARIABLES = ("APPTAINER_DOCKER", "SINGULARITY_DOCKER")


class NoCredentialError(CredentialError):
    """There are no credentials where some are needed."""

    id = "no-credentials"


class Found(NamedTuple):
    """The outcome of a search; ``problems`` are places that could not be asked."""

    credential: Credential | None
    problems: tuple[str, ...] = ()


def find_credential(
    registry: str, repository: str, environment: Mapping[str, str], *, named_only: bool = False
) -> Found:
    """The first credential that is there for a repository.

    Args:
        registry: as in references.
        repository: path in it; empty = whatever serves the registry as a whole.
        environment: variables, and where the files are.
        named_only: leave out what names no registry: for hosts that the user did not name.

    Raises:
        CredentialError: our own file is damaged or open to others.
    """
    problems: list[str] = []
    for credential in find_all(registry, repository, environment, problems, named_only=named_only):
        return Found(credential, tuple(problems))
    return Found(None, tuple(problems))


def find_all(
    registry: str,
    repository: str,
    environment: Mapping[str, str],
    problems: list[str],
    *,
    named_only: bool = False,
) -> Iterator[Credential]:
    """All credentials that are there, the one that counts first; ``problems`` gets what is not.

    Arguments and errors are those of ``find_credential``.
    """
    key = environment_key(registry, environment)
    if key is not None:
        yield key
    for file in load_files(environment, problems):
        found = _look_into(file, registry, repository, environment, problems)
        if found is not None:
            yield found
    host = registry_host(registry)
    names = tuple(dict.fromkeys((registry, host, TOKEN_HOSTS.get(host, registry))))
    try:
        found = find_in_netrc(enroot_file(environment), names, environment)
        if found is not None:
            yield found
    except CredentialError as error:
        problems.append(error.cause)
    if registry == NGC and (secret := read_ngc_config(environment).key):
        yield Credential(NGC_USER, secret, str(ngc_config_path(environment)))
    if not named_only and (found := _unnamed(registry, environment)) is not None:
        yield found


def environment_key(registry: str, environment: Mapping[str, str]) -> Credential | None:
    """NGC's key from the environment."""
    if registry == NGC:
        for name in _NGC_VARIABLES:
            if value := environment.get(name, "").strip():
                return Credential(NGC_USER, Secret(value), f"${name}")
    return None


def find_token_hosts(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """(registry, token host) pairs that the user has allowed by ``login --token-host``.

    Raises:
        CredentialError: our own file is damaged or open to others.
    """
    return tuple(texts_of(load_ours(environment), "tokenHosts").items())


def configured_helper(registry: str, environment: Mapping[str, str]) -> str:
    """The docker-credential-helper in charge of a registry; empty when none is configured.

    Raises:
        CredentialError: a file cannot be read.
    """
    for file in load_files(environment):
        if helper := file.helper_for(registry):
            return helper
    return ""


def split_name(name: str) -> tuple[str, str]:
    """``REGISTRY[/PATH]`` in any spelling, as registry and path."""
    registry, _, path = key_name(name).partition("/")
    return registry, path


def _look_into(
    file: AuthFile,
    registry: str,
    repository: str,
    environment: Mapping[str, str],
    problems: list[str],
) -> Credential | None:
    # An organisation's own entry is more particular than what a helper has for the registry.
    try:
        entry = file.find(registry, repository, partial(read_key_ring, environment=environment))
        helper = file.helper_for(registry)
        if entry is not None or not helper:
            return entry
        return ask_helper(helper, registry, environment)
    except CredentialError as error:
        problems.append(error.cause)
        return None


def _unnamed(registry: str, environment: Mapping[str, str]) -> Credential | None:
    """Apptainer's variables: they name no registry, but NGC's user name does."""
    for prefix in _UNNAMED_VARIABLES:
        user = environment.get(f"{prefix}_USERNAME", "")
        password = environment.get(f"{prefix}_PASSWORD", "")
        if user and password and (user != NGC_USER or registry == NGC):
            return Credential(user, Secret(password), f"${prefix}_PASSWORD")
    return None
