"""Who a key belongs to at NGC: kind, organisations, teams, products; and the spaces one can see."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.registry.failures import RegistryError, UnauthorizedError
from sampan.registry.listings import Space, object_of, objects_of, text_of, texts_of
from sampan.registry.ngc import PUBLIC_SPACES, count_images
from sampan.registry.ngc_api import ANY_SPACE, NgcApi, key_kind
from sampan.registry.secret import Credential
from sampan.registry.settings import DEFAULT_SETTINGS, Settings

_KINDS = {"PERSONAL_KEY": "personal", "SERVICE_KEY": "service"}


class KeyDetails(NamedTuple):
    """What a key is.

    Attributes:
        kind: ``personal``, ``service``, ``legacy`` or ``token``; ``nvapi`` when NGC does not say.
        is_known: False when NGC does not know it (wrong, revoked, expired).
        org: that it belongs to; empty for legacy keys, which serve all of a user's.
        products: that it may use, e.g. ``artifact-catalog``.
        user: name or mail address of its owner; empty for service keys.
        expires: as NGC says; empty when it does not.
    """

    kind: str
    is_known: bool
    org: str = ""
    products: tuple[str, ...] = ()
    user: str = ""
    expires: str = ""


def describe_key(
    credential: Credential,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
) -> KeyDetails:
    """Ask NGC what a key is.

    Raises:
        RegistryError: NGC cannot be asked.
    """
    kind = key_kind(credential.secret)
    with NgcApi(credential, environment, settings) as api:
        if kind == "nvapi":
            info = api.caller_info()
            return KeyDetails(kind, is_known=False) if info is None else _read_caller(info)
        try:
            user = object_of(_read_me(api), "user")
        except UnauthorizedError:
            return KeyDetails(kind, is_known=False)
    return KeyDetails(kind, is_known=True, user=text_of(user, "email") or text_of(user, "name"))


def list_spaces(api: NgcApi) -> list[Space]:
    """The public spaces and, with a key, the user's own organisations and teams; own ones first.

    Notes of the session say what could not be asked.

    Raises:
        RegistryError: the catalogue cannot be asked at all.
    """
    own: list[Space] = []
    if not api.is_guest:
        try:
            own = [
                space._replace(images=_count(api, space.name, own=True))
                for space in _own_spaces(_read_me(api))
            ]
        except RegistryError as error:
            api.notes.append(f"your own spaces are not shown: {error.cause}; {error.evidence}")
    known = {space.name for space in own}
    public = [
        Space(name, title, count_images(api, name, own=False), is_own=False)
        for name, title in PUBLIC_SPACES.items()
        if name not in known
    ]
    return own + public


def _read_me(api: NgcApi) -> dict[str, Any]:
    return api.get("/v2/users/me", space=ANY_SPACE, what="ask who you are")


def _own_spaces(document: Mapping[str, Any]) -> list[Space]:
    found: dict[str, Space] = {}
    # Both places were seen, and one entry may name an organisation, a team of it, or both.
    for holder in (document, object_of(document, "user")):
        for role in (*objects_of(holder, "userRoles"), *objects_of(holder, "roles")):
            org = object_of(role, "org")
            if not (name := text_of(org, "name")):
                continue
            found.setdefault(
                name,
                Space(name, text_of(org, "displayName"), None, True, texts_of(role, "orgRoles")),
            )
            team = object_of(role, "team")
            if below := text_of(team, "name"):
                path = f"{name}/{below}"
                title = text_of(team, "description")
                found.setdefault(path, Space(path, title, None, True, texts_of(role, "teamRoles")))
    return sorted(found.values())


def _count(api: NgcApi, space: str, *, own: bool) -> int | None:
    try:
        return count_images(api, space, own=own)
    except RegistryError as error:
        api.notes.append(f"{space} cannot be counted: {error.evidence}")
        return None


def _read_caller(document: Mapping[str, Any]) -> KeyDetails:
    user = object_of(document, "user")
    return KeyDetails(
        kind=_KINDS.get(text_of(document, "type"), "nvapi"),
        is_known=True,
        org=text_of(document, "orgName"),
        products=texts_of(document, "products"),
        user=text_of(user, "email") or text_of(user, "name"),
        expires=text_of(document, "expiryDate") or text_of(document, "expiresAt"),
    )
