"""``login``: a credential is shown to the registry before it is stored; and looked at later on."""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.model.reference import Reference
from sampan.registry.access import Access, try_repository
from sampan.registry.client import Origin, RegistryClient
from sampan.registry.credential_store import Stored, store_credential
from sampan.registry.credentials import find_all, split_name
from sampan.registry.failures import ForbiddenError, RegistryError, UnauthorizedError
from sampan.registry.ngc_account import KeyDetails, describe_key
from sampan.registry.origins import find_origin
from sampan.registry.secret import Credential
from sampan.registry.settings import DEFAULT_SETTINGS, NGC, Settings

_KEYS_PAGE = "https://org.ngc.nvidia.com/setup/api-keys"


class Checked(NamedTuple):
    """What a registry says of a credential.

    Attributes:
        was_proved: False when it lets everybody in.
        notes: what the user should hear besides.
        key: NGC's own words on a key of NGC's; None elsewhere, or when NGC was silent.
    """

    was_proved: bool
    notes: tuple[str, ...] = ()
    key: KeyDetails | None = None


class LoginOutcome(NamedTuple):
    """Where the credential was stored, and what the registry said of it."""

    stored: Stored
    checked: Checked


class Identities(NamedTuple):
    """The credentials that are there for a name, the one that counts first."""

    credentials: tuple[Credential, ...]
    problems: tuple[str, ...]


def log_in(
    name: str,
    credential: Credential,
    environment: Mapping[str, str],
    *,
    token_host: str = "",
    place: str = "auto",
    settings: Settings = DEFAULT_SETTINGS,
) -> LoginOutcome:
    """Check a credential and store it.

    Args:
        name: ``REGISTRY[/PATH]``: a path's own credential goes before its registry's.
        credential: what the user said.
        environment: where files and helpers are, proxies.
        token_host: a token host on another host that the user trusts with it; kept.
        place: see ``credential_store.PLACES``.
        settings: patience, trust.

    Raises:
        UnauthorizedError: the registry refuses it; nothing is stored.
        ForbiddenError: it is right, and does not open the path; nothing is stored.
        RegistryError: the registry cannot be asked; nothing is stored.
        CredentialError: it cannot be stored.
    """
    registry, _ = split_name(name)
    if token_host:
        settings = settings._replace(token_hosts=(*settings.token_hosts, (registry, token_host)))
    checked = check_credential(name, credential, environment, settings)
    stored = store_credential(name, credential, environment, token_host=token_host, place=place)
    return LoginOutcome(stored, checked)


def check_credential(
    name: str,
    credential: Credential,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
) -> Checked:
    """Show a credential to its registry, and to a repository of it where the name has one.

    Raises:
        UnauthorizedError: it is wrong.
        ForbiddenError: it is right, and does not open the repository.
        RegistryError: the registry cannot be asked.
    """
    registry, path = split_name(name)
    origin = _origin(registry, path, credential, environment, settings)
    notes: list[str] = []
    # A single part is an organisation, which cannot be asked for.
    is_open = "/" in path and _is_public(path, origin, environment)
    client = RegistryClient(origin, environment)
    try:
        opened = try_repository(client, path) if "/" in path else None
        if opened is not None and opened.access is Access.YES:
            was_proved = not is_open or client.check_login()
        else:
            was_proved = _prove(client, name, is_open=is_open)
            if opened is not None and opened.access is Access.NO:
                raise _no_access(name, credential, opened.refusal, is_open=is_open)
            if opened is not None:
                notes.append(f"{registry} has no repository {path}, or does not show it")
        notes += client.notes
    finally:
        client.close()
    if is_open:
        notes.append(f"{registry}/{path} is public: no key is needed to pull it")
    key = _describe(registry, path, credential, environment, settings, notes)
    return Checked(was_proved, tuple(notes), key)


def find_identities(name: str, environment: Mapping[str, str]) -> Identities:
    """The credentials that a pull from a name would find.

    Raises:
        CredentialError: our own file is damaged or open to others.
    """
    problems: list[str] = []
    registry, path = split_name(name)
    found = tuple(find_all(registry, path, environment, problems))
    return Identities(found, tuple(dict.fromkeys(problems)))


def _origin(
    registry: str,
    path: str,
    credential: Credential,
    environment: Mapping[str, str],
    settings: Settings,
) -> Origin:
    # The registry itself is meant, whatever mirrors there are.
    found = find_origin(
        Reference(registry, path or "login", "latest"), environment, settings, is_push=True
    )
    return found.origin._replace(credential=credential)


def _is_public(path: str, origin: Origin, environment: Mapping[str, str]) -> bool:
    client = RegistryClient(origin._replace(credential=None), environment)
    try:
        return try_repository(client, path).access is Access.YES
    finally:
        client.close()


def _prove(client: RegistryClient, name: str, *, is_open: bool) -> bool:
    try:
        return client.check_login()
    except UnauthorizedError as error:
        if is_open:
            error.evidence += f"; {name} is public"
            error.remedy = f"{name} can be pulled without any key; {error.remedy}"
        raise


def _no_access(
    name: str, credential: Credential, refusal: RegistryError | None, *, is_open: bool
) -> ForbiddenError:
    registry, path = split_name(name)
    seen = refusal.evidence if refusal is not None else ""
    if is_open:
        return ForbiddenError(
            f"the credentials are right, but do not open {name}, which is public",
            evidence=seen,
            remedy=f"pull it without; for the rest of the registry: sampan login {registry}",
        )
    remedy = f"log in as somebody who may: sampan login {name}"
    if registry == NGC:
        org = path.partition("/")[0]
        remedy = f"choose organisation {org} and its services at {_KEYS_PAGE}, then: sampan login {registry}/{org}"
    return ForbiddenError(
        f"the credentials are right, but do not open {name}",
        evidence=f"{seen}; tried those of {credential.source}",
        remedy=remedy,
    )


def _describe(
    registry: str,
    path: str,
    credential: Credential,
    environment: Mapping[str, str],
    settings: Settings,
    notes: list[str],
) -> KeyDetails | None:
    if registry != NGC or credential.is_identity_token:
        return None
    try:
        key = describe_key(credential, environment, settings._replace(attempts=1))
    except RegistryError as error:
        notes.append(f"NGC does not say what kind of key it is: {error.cause}")
        return None
    org = path.partition("/")[0]
    if key.org and org and key.org != org:
        notes.append(f"the key belongs to organisation {key.org}, not to {org}")
    return key
