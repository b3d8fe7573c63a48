"""Who we are at a registry: found where people keep it, stored by ``login``, removed by ``logout``.

Order: the environment (NGC's keys), our own file, containers' files, docker's configuration; of a
file the helper that it names before its own entries.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.registry.auth_files import (
    AuthFile,
    CredentialError,
    auth_entry,
    key_name,
    load_files,
    load_ours,
    our_file,
    write_ours,
)
from sampan.registry.helpers import ask_helper, erase_from_helper, store_in_helper
from sampan.registry.secret import Credential, Secret
from sampan.registry.settings import NGC

NGC_USER = "$oauthtoken"
"""The literal user name with every key of NGC's; shells eat it, so nobody is asked for it."""

_NGC_VARIABLES = ("NGC_API_KEY", "NGC_CLI_API_KEY")


class Found(NamedTuple):
    """The outcome of a search; ``problems`` are places that could not be asked."""

    credential: Credential | None
    problems: tuple[str, ...] = ()


def find_credential(registry: str, repository: str, environment: Mapping[str, str]) -> Found:
    """The first credential that is there for a repository.

    Args:
        registry: as in references.
        repository: path in it; empty = whatever serves the registry as a whole.
        environment: variables, and where the files are.

    Raises:
        CredentialError: our own file is damaged or open to others.
    """
    key = environment_key(registry, environment)
    if key is not None:
        return Found(key)
    problems: list[str] = []
    try:
        for file in load_files(environment):
            credential = _look_into(file, registry, repository, problems)
            if credential is not None:
                return Found(credential, tuple(problems))
    except CredentialError as error:
        if str(our_file(environment)) in error.cause:
            raise
        # A public image needs none of it.
        problems.append(error.cause)
    return Found(None, tuple(problems))


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
    found = load_ours(environment).get("tokenHosts")
    if not isinstance(found, dict):
        return ()
    return tuple((str(registry), str(host)) for registry, host in found.items())


def store_credential(
    registry: str, credential: Credential, environment: Mapping[str, str], *, token_host: str = ""
) -> str:
    """Keep a credential: in the helper that is configured, else in our own file.

    Returns:
        Where it lies now, for people.

    Raises:
        CredentialError: it cannot be stored.
    """
    document = load_ours(environment)
    if token_host:
        document["tokenHosts"] = {**document.get("tokenHosts", {}), registry: token_host}
    helper = _configured_helper(registry, environment)
    auths = {
        key: entry for key, entry in document.get("auths", {}).items() if key_name(key) != registry
    }
    if helper:
        store_in_helper(helper, registry, credential.username, credential.secret)
        if not token_host and auths == document.get("auths", {}):
            return f"docker-credential-{helper}"
    else:
        auths[registry] = auth_entry(credential.username, credential.secret)
    path = write_ours(environment, {**document, "auths": auths})
    return f"docker-credential-{helper}" if helper else str(path)


def remove_credential(registry: str, environment: Mapping[str, str]) -> list[str]:
    """Forget a registry's credentials where ``store_credential`` puts them.

    Returns:
        From where something was removed; empty when there was nothing.

    Raises:
        CredentialError: our file cannot be written, or the helper is missing.
    """
    removed = []
    helper = _configured_helper(registry, environment)
    if helper and ask_helper(helper, registry) is not None:
        erase_from_helper(helper, registry)
        removed.append(f"docker-credential-{helper}")
    document = load_ours(environment)
    auths = document.get("auths", {})
    kept = {key: entry for key, entry in auths.items() if key_name(key) != registry}
    hosts = {k: v for k, v in document.get("tokenHosts", {}).items() if k != registry}
    if kept != auths or hosts != document.get("tokenHosts", {}):
        document = {**document, "auths": kept, "tokenHosts": hosts}
        removed.append(str(write_ours(environment, document)))
    return removed


def _look_into(
    file: AuthFile, registry: str, repository: str, problems: list[str]
) -> Credential | None:
    # An organisation's own entry is more particular than what a helper has for the registry.
    try:
        entry = file.find(registry, repository)
        helper = file.helper_for(registry)
        if entry is not None or not helper:
            return entry
        return ask_helper(helper, registry)
    except CredentialError as error:
        problems.append(error.cause)
        return None


def _configured_helper(registry: str, environment: Mapping[str, str]) -> str:
    for file in load_files(environment):
        if helper := file.helper_for(registry):
            return helper
    return ""
