"""``login``: a credential is shown to the registry before it is stored."""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.registry.client import Origin, RegistryClient
from sampan.registry.credentials import store_credential
from sampan.registry.secret import Credential
from sampan.registry.settings import DEFAULT_SETTINGS, Settings


class LoginOutcome(NamedTuple):
    """Where the credential was stored, and whether the registry confirmed it."""

    stored_in: str
    was_checked: bool


def log_in(
    registry: str,
    credential: Credential,
    environment: Mapping[str, str],
    *,
    token_host: str = "",
    settings: Settings = DEFAULT_SETTINGS,
) -> LoginOutcome:
    """Check a credential and store it.

    Args:
        registry: as in references.
        credential: what the user said.
        environment: where files and helpers are, proxies.
        token_host: a token host on another host that the user trusts with it; kept.
        settings: patience, trust.

    Raises:
        UnauthorizedError: the registry refuses it; nothing is stored.
        RegistryError: the registry cannot be asked; nothing is stored.
        CredentialError: it cannot be stored.
    """
    if token_host:
        settings = settings._replace(token_hosts=(*settings.token_hosts, (registry, token_host)))
    client = RegistryClient(Origin(registry, credential, settings), environment)
    try:
        was_checked = client.check_login()
    finally:
        client.close()
    stored_in = store_credential(registry, credential, environment, token_host=token_host)
    return LoginOutcome(stored_in, was_checked)
