"""NGC's API (api.ngc.nvidia.com): who asks, which headers go along, what an answer means.

Shapes, hosts and key kinds are those of the field note (registries, 1.3 and 1.4). Two rules stand
here: a key goes to ``api.ngc.nvidia.com`` and ``authn.nvidia.com`` over https and nowhere else, and
what NGC wants its users to read reaches them.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlencode

from sampan.registry.catalogue_answers import read_answer
from sampan.registry.credentials import NGC_USER, find_credential
from sampan.registry.failures import (
    ForbiddenError,
    NotFoundError,
    Refusal,
    RegionError,
    RegistryError,
    UnauthorizedError,
    clean_text,
    explain_refusal,
    plain_url,
)
from sampan.registry.listings import number_of, object_of, text_of
from sampan.registry.secret import Credential, Secret
from sampan.registry.settings import DEFAULT_SETTINGS, NGC, Settings
from sampan.registry.transport import Answer, Transport

API = "https://api.ngc.nvidia.com"
_TOKENS = "https://authn.nvidia.com/token"
_MAXIMUM_BODY = 16 << 20
_MAXIMUM_TOKEN_BODY = 1 << 20
_DEFAULT_LIFE_S = 60
_NOTICE = "nv-ngc-response-warning-message"
_KEYS_PAGE = "https://org.ngc.nvidia.com/setup/api-keys"


class NgcApi:
    """A session with the API, as a guest or with a key. Made and used by one thread.

    Attributes:
        notes: what NGC, or a place where keys are kept, wants the user to know.
    """

    def __init__(
        self,
        credential: Credential | None,
        environment: Mapping[str, str],
        settings: Settings = DEFAULT_SETTINGS,
    ) -> None:
        self.notes: list[str] = []
        self._credential = credential
        self._transport = Transport(settings, environment)
        self._tokens: dict[str, tuple[Secret, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    @property
    def is_guest(self) -> bool:
        """Whether there is no key."""
        return self._credential is None

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, space: str = "", what: str
    ) -> dict[str, Any]:
        """A document.

        Args:
            path: from ``/v2``.
            query: parameters.
            space: ORG or ORG/TEAM on whose behalf it is asked; empty = as a guest, even with a key.
            what: completes "cannot ...", for errors.

        Raises:
            RegistryError: the API cannot be asked, refuses, or answers something else than JSON.
        """
        url = f"{API}{path}{f'?{urlencode(query)}' if query else ''}"
        answer = self._send("GET", url, space, None)
        if answer.status != 200:
            raise self._explain(answer, space, what)
        return read_answer(answer, "NGC")

    def post(self, path: str, document: Mapping[str, Any], *, space: str, what: str) -> None:
        """Send a document.

        Raises:
            RegistryError: the API cannot be asked, or refuses.
        """
        answer = self._send("POST", f"{API}{path}", space, json.dumps(document).encode())
        if not 200 <= answer.status < 300:
            raise self._explain(answer, space, what)

    def caller_info(self) -> dict[str, Any] | None:
        """What NGC says of an ``nvapi-`` key; None when it does not know the key.

        Raises:
            RegistryError: the API cannot be asked.
        """
        assert self._credential is not None
        answer = self._transport.request(
            "POST",
            f"{API}/v3/keys/get-caller-info",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode({"credentials": self._credential.secret.reveal()}).encode(),
            limit=_MAXIMUM_TOKEN_BODY,
        )
        if 400 <= answer.status < 500 and answer.status not in (408, 429):
            return None
        if answer.status != 200:
            raise self._explain(answer, "", "look at the key")
        return read_answer(answer, "NGC")

    def _send(self, method: str, url: str, space: str, body: bytes | None) -> Answer:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if space and self._credential is not None:
            org, _, team = space.partition("/")
            headers["Authorization"] = f"Bearer {self._bearer(self._credential, space).reveal()}"
            if org != ANY_SPACE:
                headers["nv-ngc-org"] = org
            if team:
                headers["nv-ngc-team"] = team
        answer = self._transport.request(
            method, url, headers=headers, body=body, limit=_MAXIMUM_BODY
        )
        notice = clean_text(answer.headers.get(_NOTICE, ""))
        if notice and f"NGC says: {notice}" not in self.notes:
            self.notes.append(f"NGC says: {notice}")
        return answer

    def _bearer(self, credential: Credential, space: str) -> Secret:
        """New keys are tokens themselves; a legacy key is exchanged for one."""
        if key_kind(credential.secret) != "legacy":
            return credential.secret
        known = self._tokens.get(space)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        # NGC's own client names the organisation, and the team beside it.
        org, _, team = space.partition("/")
        scopes = [] if org == ANY_SPACE else [f"group/ngc:{org}"]
        if team:
            scopes.append(f"group/ngc:{org}/{team}")
        query = urlencode([("service", "ngc"), *(("scope", scope) for scope in scopes)], safe=":/")
        basic = Credential(NGC_USER, credential.secret, credential.source).basic_header()
        answer = self._transport.request(
            "GET",
            f"{_TOKENS}?{query}",
            headers={"Authorization": basic},
            limit=_MAXIMUM_TOKEN_BODY,
        )
        if answer.status != 200:
            raise self._explain(answer, space, "exchange the key for a token")
        document = read_answer(answer, "NGC")
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(
                "authn.nvidia.com gives no token",
                evidence=f"the answer of {plain_url(answer.url)} holds none",
            )
        life = number_of(document, "expires_in") or _DEFAULT_LIFE_S
        self._tokens[space] = (Secret(token), time.monotonic() + life * 0.8)
        return self._tokens[space][0]

    def _explain(self, answer: Answer, space: str, what: str) -> RegistryError:
        evidence = f"{plain_url(answer.url)} answered {answer.status}"
        if words := _read_words(answer.body):
            evidence += f": {words}"
        with_key = bool(space) and self._credential is not None
        if self._credential is not None and with_key:
            evidence += f"; asked with the key of {self._credential.source}"
        match answer.status:
            case 401 if with_key:
                return UnauthorizedError(
                    f"NGC does not accept your key: cannot {what}",
                    evidence=evidence,
                    remedy="a new key? sampan login nvcr.io",
                )
            case 401:
                return UnauthorizedError(
                    f"NGC wants a key: cannot {what}",
                    evidence=evidence,
                    remedy="sampan login nvcr.io    (or set NGC_API_KEY)",
                )
            case 403:
                return ForbiddenError(
                    f"NGC does not let you {what}",
                    evidence=evidence,
                    remedy="the key may belong to another organisation or lack a service: "
                    f"{_KEYS_PAGE}, then: sampan login nvcr.io",
                )
            case 404:
                return NotFoundError(
                    f"NGC has nothing of that name, or hides it: cannot {what}",
                    evidence=evidence,
                    remedy="the form is ORG[/TEAM]/IMAGE; sampan search finds names",
                )
            case 451:
                return RegionError(
                    f"NGC does not show this in your region: cannot {what}", evidence=evidence
                )
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        error = explain_refusal(refusal, registry=NGC, repository=space, what=what)
        # NGC's errors are not of the registries' form.
        error.evidence = evidence
        return error


ANY_SPACE = "-"
"""In place of a space for what concerns the user alone."""


def open_api(
    environment: Mapping[str, str], *, repository: str = "", settings: Settings = DEFAULT_SETTINGS
) -> NgcApi:
    """A session with the key that is there for a repository or space, else as a guest.

    Raises:
        CredentialError: our own file of credentials is damaged or open to others.
    """
    found = find_credential(NGC, repository, environment)
    credential = found.credential
    api = NgcApi(
        None if credential is None or credential.is_identity_token else credential,
        environment,
        settings,
    )
    api.notes += found.problems
    return api


def key_kind(key: Secret) -> str:
    """``nvapi``, ``token`` (a JWT) or ``legacy``, by its form alone."""
    text = key.reveal()
    if text.startswith("nvapi-"):
        return "nvapi"
    return "token" if text.startswith("eyJ") and text.count(".") == 2 else "legacy"


def _read_words(body: bytes) -> str:
    """What NGC says in an error: ``requestStatus`` or problem+json."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    status = object_of(document, "requestStatus")
    return (
        text_of(status, "statusDescription")
        or text_of(document, "detail")
        or text_of(document, "title")
        or text_of(document, "message")
    )
