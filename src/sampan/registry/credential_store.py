"""Where ``login`` puts a credential, and from where ``logout`` takes it.

A docker-credential-helper where one is configured, else the user's key ring where there is one, else our
own file, readable by its owner alone. Helpers know hosts, not paths, so a key for a path goes past them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.registry.auth_files import (
    CredentialError,
    auth_entry,
    key_name,
    load_ours,
    texts_of,
    write_ours,
)
from sampan.registry.credentials import configured_helper, split_name
from sampan.registry.helpers import ask_helper, erase_from_helper, store_in_helper
from sampan.registry.key_ring import erase_from_key_ring, has_key_ring, store_in_key_ring
from sampan.registry.secret import Credential

PLACES = ("auto", "helper", "keyring", "file")


class Stored(NamedTuple):
    """Where a credential lies now, for people; ``note`` says why not where it should."""

    place: str
    note: str = ""


def store_credential(
    name: str,
    credential: Credential,
    environment: Mapping[str, str],
    *,
    token_host: str = "",
    place: str = "auto",
) -> Stored:
    """Keep a credential.

    Args:
        name: ``REGISTRY[/PATH]``.
        credential: a user name and a secret.
        environment: where files, helpers and key ring are.
        token_host: allowed for the registry from now on.
        place: one of PLACES.

    Raises:
        CredentialError: it cannot be stored.
    """
    document = load_ours(environment)
    registry, path = split_name(name)
    key = f"{registry}/{path}" if path else registry
    # What was kept elsewhere for the same name would be found first, or never be found again.
    kept = _without(document, key)
    if token_host:
        kept["tokenHosts"] = {**texts_of(document, "tokenHosts"), registry: token_host}
    stored = _store_outside(key, credential, environment, place)
    if stored.place == _KEY_RING:
        kept["keyRing"] = {**texts_of(kept, "keyRing"), key: credential.username}
    elif not stored.place:
        entry = auth_entry(credential.username, credential.secret)
        kept["auths"] = {**kept.get("auths", {}), key: entry}
        return Stored(str(write_ours(environment, kept)), stored.note)
    if kept != document:
        write_ours(environment, kept)
    return stored


def remove_credential(name: str, environment: Mapping[str, str]) -> list[str]:
    """Forget credentials where ``store_credential`` puts them.

    Args:
        name: ``REGISTRY[/PATH]``; a path's own key is not its registry's.
        environment: where files, helpers and key ring are.

    Returns:
        From where something was removed; empty when there was nothing.

    Raises:
        CredentialError: our file cannot be written, or helper or key ring cannot be asked.
    """
    removed = []
    registry, path = split_name(name)
    key = f"{registry}/{path}" if path else registry
    helper = "" if path else configured_helper(registry, environment)
    if helper and ask_helper(helper, registry, environment) is not None:
        erase_from_helper(helper, registry, environment)
        removed.append(f"docker-credential-{helper}")
    document = load_ours(environment)
    username = texts_of(document, "keyRing").get(key)
    if username is not None and erase_from_key_ring(key, username, environment):
        removed.append(_KEY_RING)
    kept = _without(document, key)
    if not path:
        hosts = texts_of(document, "tokenHosts")
        kept["tokenHosts"] = {one: host for one, host in hosts.items() if one != registry}
    if any(kept.get(part, {}) != document.get(part, {}) for part in ("auths", "tokenHosts")):
        removed.append(str(write_ours(environment, kept)))
    elif kept.get("keyRing", {}) != document.get("keyRing", {}):
        write_ours(environment, kept)
    return removed


_KEY_RING = "the key ring"


def _without(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    kept = dict(document)
    for part in ("auths", "keyRing"):
        if isinstance(found := document.get(part), dict):
            kept[part] = {one: value for one, value in found.items() if key_name(one) != key}
    return kept


def _store_outside(
    key: str, credential: Credential, environment: Mapping[str, str], place: str
) -> Stored:
    """Store in a helper or the key ring, as wanted and possible; an empty place = in our file."""
    registry, path = split_name(key)
    if place in ("auto", "helper"):
        helper = "" if path else configured_helper(registry, environment)
        if helper:
            store_in_helper(helper, registry, credential, environment)
            return Stored(f"docker-credential-{helper}")
        if place == "helper":
            raise CredentialError(
                f"there is no helper for {key}",
                evidence="helpers know no paths"
                if path
                else "credsStore and credHelpers name none",
                remedy="name one in ~/.docker/config.json, or: --keep-in file",
            )
    if place == "keyring" or (place == "auto" and has_key_ring(environment)):
        try:
            store_in_key_ring(key, credential.username, credential.secret, environment)
            return Stored(_KEY_RING)
        except CredentialError as error:
            if place == "keyring":
                raise
            return Stored("", f"{error.cause}: {error.evidence}")
    return Stored("")
