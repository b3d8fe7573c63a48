"""Answers to a registry's 401: HTTP Basic, Bearer tokens, OAuth2 (distribution's spec/auth).

Credentials go to https alone (or to this machine), and only to the registry's own host or to a
token host that is known to belong to it: a registry may name any realm it likes.
"""

import json
import threading
import time
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from sampan.registry.challenges import Challenge
from sampan.registry.failures import (
    Refusal,
    RegistryError,
    UnauthorizedError,
    explain_refusal,
    plain_url,
)
from sampan.registry.secret import Credential, Secret
from sampan.registry.settings import (
    NGC,
    TOKEN_HOSTS,
    Settings,
    host_name,
    may_speak_plainly,
    registry_host,
)
from sampan.registry.transport import Answer, Transport

MAXIMUM_TOKEN_BODY = 1 << 20
_DEFAULT_LIFE_S = 60
_LONGEST_MARGIN_S = 60.0
_CLIENT_ID = "sampan"


class _Token(NamedTuple):
    secret: Secret
    expires: float


class Authorizer:
    """What goes into ``Authorization`` for one registry; safe for threads."""

    def __init__(
        self,
        registry: str,
        credential: Credential | None,
        transport: Transport,
        settings: Settings,
        *,
        is_insecure: bool = False,
    ) -> None:
        self._registry = registry
        self._is_insecure = is_insecure
        self._credential = credential
        self._transport = transport
        self._settings = settings
        self._tokens: dict[str, _Token] = {}
        self._uses_basic = False
        self._lock = threading.Lock()
        self.notes: list[str] = []

    def current(self, scope: str) -> str | None:
        """The header for a request in ``scope`` as far as one is known; None = ask without."""
        with self._lock:
            if self._uses_basic and self._credential is not None:
                return self._credential.basic_header()
            token = self._tokens.get(scope)
            if token is None or token.expires <= time.monotonic():
                return None
            return f"Bearer {token.secret.reveal()}"

    def forget(self, scope: str) -> None:
        """Drop what the registry no longer takes."""
        with self._lock:
            self._tokens.pop(scope, None)
            self._uses_basic = False

    def answer(
        self, challenges: list[Challenge], scope: str, refused: Answer, *, strict: bool = False
    ) -> str:
        """A header that meets one of the challenges.

        Args:
            challenges: of a 401.
            scope: e.g. ``repository:nvidia/cuda:pull``, several joined by a space; empty for a
                login check.
            refused: the 401, for messages.
            strict: the credential itself is being checked: do without no part of it.

        Raises:
            UnauthorizedError: nothing that we have meets them.
            RegistryError: the token host's answer cannot be used.
        """
        parts = urlsplit(refused.url)
        if self._credential is not None and parts.scheme == "http":
            self._note_clear_text(parts.hostname or "")
        with self._lock:
            schemes = {challenge.scheme: challenge for challenge in reversed(challenges)}
            if "bearer" in schemes:
                token = self._fetch(schemes["bearer"], scope, refused.url, strict=strict)
                self._tokens[scope] = token
                return f"Bearer {token.secret.reveal()}"
            if "basic" in schemes and self._credential is not None:
                if self._credential.is_identity_token:
                    raise self.refuse(refused, "an identity token is no password")
                self._uses_basic = True
                return self._credential.basic_header()
        raise self.refuse(refused)

    def _note_clear_text(self, host: str) -> None:
        note = f"{self._registry} is insecure: the credentials go to it for all to read"
        if not may_speak_plainly(host) and note not in self.notes:
            self.notes.append(note)

    def refuse(self, answer: Answer, why: str = "") -> UnauthorizedError:
        """The error for a 401 that stands."""
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        evidence = "; ".join([refusal.evidence(), *([why] if why else []), *self.notes])
        login = f"sampan login {self._registry}"
        if self._credential is None:
            return UnauthorizedError(
                f"{self._registry} wants to know who you are, or there is nothing of that name",
                evidence=f"{evidence}; no credentials for it were found",
                remedy=f"check the name; {login}"
                + ("    (or set NGC_API_KEY)" if self._registry == NGC else ""),
            )
        return UnauthorizedError(
            f"{self._registry} does not accept your credentials for this",
            evidence=f"{evidence}; tried those of {self._credential.source}",
            remedy=f"a new key? {login}",
        )

    def _fetch(self, challenge: Challenge, scope: str, url: str, *, strict: bool) -> _Token:
        realm = urljoin(url, challenge.parameters.get("realm", ""))
        if not is_token_realm(self._registry, realm, is_insecure=self._is_insecure):
            raise RegistryError(
                f"{self._registry} sends us for a token to a place where we do not go",
                evidence=f"its realm is {plain_url(realm)}",
                remedy="ask the registry's operator",
            )
        parameters = {"service": challenge.parameters.get("service", ""), "scope": scope}
        credential = self._credential
        if credential is not None and not may_have_credential(
            self._registry, realm, self._settings.token_hosts, is_insecure=self._is_insecure
        ):
            host = urlsplit(realm).netloc
            note = f"the credentials were not sent to {host}, which is another host"
            if note not in self.notes:
                self.notes.append(note)
            if strict:
                raise UnauthorizedError(
                    f"{self._registry} wants your credentials sent to another host",
                    evidence=f"its token host is {host}",
                    remedy=f"if that is right: sampan login --token-host "
                    f"{host_name(host)} {self._registry}",
                )
            credential = None
        answer = self._ask(realm, parameters, credential)
        pushes = scope.partition(" ")[0].endswith("push")
        if answer.status in (401, 403) and credential is not None and not (strict or pushes):
            # An expired key must not stand in the way of a public image.
            anonymous = self._ask(realm, parameters, None)
            if anonymous.status == 200:
                self._credential = None
                self.notes.append(
                    f"the credentials of {credential.source} were refused "
                    f"({answer.status} from {plain_url(realm)}), going on without"
                )
                answer = anonymous
        if answer.status == 200:
            return _read_token(answer)
        if answer.status == 401:
            raise self.refuse(answer)
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        repository = scope.partition(" ")[0].removeprefix("repository:").rpartition(":")[0]
        raise explain_refusal(
            refusal,
            registry=self._registry,
            repository=repository,
            what=f"{'push to' if pushes else 'read'} {repository}" if repository else "log in",
        )

    def _ask(self, realm: str, parameters: dict[str, str], credential: Credential | None) -> Answer:
        if credential is not None and credential.is_identity_token:
            return self._post(
                realm,
                parameters,
                {"grant_type": "refresh_token", "refresh_token": credential.secret.reveal()},
            )
        headers = {} if credential is None else {"Authorization": credential.basic_header()}
        answer = self._transport.request(
            "GET", _with_query(realm, parameters), headers=headers, limit=MAXIMUM_TOKEN_BODY
        )
        if credential is not None and answer.status in (404, 405):
            return self._post(
                realm,
                parameters,
                {
                    "grant_type": "password",
                    "username": credential.username,
                    "password": credential.secret.reveal(),
                },
            )
        return answer

    def _post(self, realm: str, parameters: dict[str, str], grant: dict[str, str]) -> Answer:
        form = {**parameters, **grant, "client_id": _CLIENT_ID}
        return self._transport.request(
            "POST",
            realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode({name: value for name, value in form.items() if value}).encode(),
            limit=MAXIMUM_TOKEN_BODY,
        )


def is_token_realm(registry: str, realm: str, *, is_insecure: bool = False) -> bool:
    """Whether a realm may be asked at all.

    https; plain http between programs of this machine, and at the own host of a registry that was
    configured as insecure.
    """
    parts = urlsplit(realm)
    if parts.scheme == "http" and is_insecure and parts.hostname == _own_host(registry):
        return True
    if parts.scheme == "https":
        return bool(parts.hostname)
    is_local = may_speak_plainly(registry) and may_speak_plainly(parts.hostname or "")
    return parts.scheme == "http" and is_local


def may_have_credential(
    registry: str,
    realm: str,
    token_hosts: tuple[tuple[str, str], ...] = (),
    *,
    is_insecure: bool = False,
) -> bool:
    """Whether the credentials of a registry may be sent to a realm (field note: NGC, rule 5)."""
    if not is_token_realm(registry, realm, is_insecure=is_insecure):
        return False
    ours = registry_host(registry)
    host = urlsplit(realm).hostname or ""
    return (
        host == _own_host(registry)
        or host == TOKEN_HOSTS.get(ours)
        or (registry, host) in token_hosts
    )


def _own_host(registry: str) -> str:
    return host_name(registry_host(registry)).lower()


def _with_query(realm: str, parameters: dict[str, str]) -> str:
    """The realm with our parameters; a realm that brings its own keeps those (NGC did)."""
    parts = urlsplit(realm)
    own = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    added = [
        # Scopes are repeated here; in what is posted they are joined (distribution's oauth.md).
        (name, word)
        for name, value in parameters.items()
        if value and name not in own
        for word in (value.split(" ") if name == "scope" else [value])
    ]
    query = "&".join(part for part in (parts.query, urlencode(added, safe=":/")) if part)
    return parts._replace(query=query, fragment="").geturl()


def _read_token(answer: Answer) -> _Token:
    try:
        document: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None  # fmt: skip
    if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
        raise RegistryError(
            f"{urlsplit(answer.url).netloc} gives no token",
            evidence=f"the answer of {plain_url(answer.url)} holds none",
        )
    life = document.get("expires_in")
    seconds = life if isinstance(life, int) and life > 0 else _DEFAULT_LIFE_S
    # Our own clock alone: issued_at is the server's, and clocks differ.
    return _Token(Secret(token), time.monotonic() + seconds - min(_LONGEST_MARGIN_S, seconds / 5))
