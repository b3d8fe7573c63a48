"""Requests that change something at a registry: authorization with ``push``, Locations, no repeats.

The rules for secrets are those of reading (``server``, ``transport``): a Location on another host
gets what we send, but no credentials, and its 401 is the end.
"""

from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

from sampan.registry.client import RegistryClient
from sampan.registry.failures import Refusal, RegistryError, plain_url
from sampan.registry.push_failures import explain_push
from sampan.registry.server import challenges_of
from sampan.registry.transport import Answer, origin_of

_MAXIMUM_ANSWER = 4 << 20


class UploadChannel:
    """One repository that is written to; safe for threads."""

    def __init__(self, client: RegistryClient, repository: str) -> None:
        """Ask nothing yet.

        Args:
            client: of the registry; mirrors are not asked.
            repository: path in it.
        """
        self.client = client
        self.repository = repository
        self._server = client.server

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | BinaryIO | None = None,
        attempts: int | None = None,
        also_from: str = "",
    ) -> Answer:
        """Send a request; statuses but 401 are the caller's.

        Args:
            method: any.
            target: below the repository (``blobs/uploads/``), or an absolute URL.
            headers: besides ``Authorization``.
            body: a stream is sent once, whatever ``attempts`` says.
            attempts: 1 for what must not be repeated blindly; None = the settings'.
            also_from: another repository that the token shall let us read.

        Raises:
            UnauthorizedError: nothing that we have is accepted.
            RegistryError: there is no usable answer.
        """
        server = self._server
        url = target
        if not urlsplit(target).scheme:
            url = server.find_base() + server.path(self.repository, target)
        if not self._is_ours(url):
            return self._send(method, url, headers, None, body, attempts)
        scope = self._scope(also_from)
        header = server.authorizer.current(scope)
        answer = self._send(method, url, headers, header, body, attempts)
        if answer.status != 401 or answer.is_elsewhere:
            return answer
        if header is not None:
            # See Server.ask_path: the realm for a new token is named to those without any.
            server.authorizer.forget(scope)
        if isinstance(body, bytes | None):
            bare = self._send(method, url, headers, None, body, attempts) if header else answer
        else:
            # A stream is gone once it was sent; any request of the repository names the realm.
            bare = self._send("GET", self._probe(), None, None, None, None)
        if bare.status == 401:
            header = server.authorizer.answer(challenges_of(bare), scope, bare)
        if not isinstance(body, bytes | None):
            return answer
        if bare.status != 401:
            return bare
        answer = self._send(method, url, headers, header, body, attempts)
        if answer.status == 401 and not answer.is_elsewhere:
            raise server.authorizer.refuse(answer)
        return answer

    def location(self, answer: Answer) -> str:
        """Where an answer says to go on; relative to the URL that answered (RFC 9110, 10.2.2).

        Raises:
            RegistryError: there is none, or it leads from https to http.
        """
        found = answer.headers.get("location", "")
        if not found:
            raise RegistryError(
                f"{self.client.registry} begins an upload without saying where",
                evidence=f"no Location in the answer {answer.status} of {plain_url(answer.url)}",
                remedy="ask the registry's operator",
            )
        target = urlsplit(urljoin(answer.url, found))
        here = urlsplit(answer.url)
        if target.scheme == "http" and here.scheme == "https" and target.hostname == here.hostname:
            # Registries behind a proxy that ends TLS do not always know that there is one.
            target = target._replace(scheme="https", netloc=here.netloc)
        is_downgrade = target.scheme == "http" and here.scheme == "https"
        if is_downgrade or target.scheme not in ("http", "https"):
            raise RegistryError(
                f"{self.client.registry} sends an upload to a place where we do not go",
                evidence=f"from {plain_url(answer.url)} to {plain_url(target.geturl())}",
                remedy="ask the registry's operator",
            )
        return target.geturl()

    def refuse(self, answer: Answer, method: str, what: str = "") -> RegistryError:
        """The error for an answer that is no success."""
        refusal = Refusal(answer.status, answer.headers, answer.body, method, answer.url)
        return explain_push(
            refusal,
            registry=self.client.registry,
            repository=self.repository,
            what=what or f"push to {self.repository}",
        )

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        header: str | None,
        body: bytes | BinaryIO | None,
        attempts: int | None,
    ) -> Answer:
        whole = dict(headers or {})
        if header:
            whole["Authorization"] = header
        return self.client.transport.request(
            method, url, headers=whole, limit=_MAXIMUM_ANSWER, body=body,
            attempts=attempts, may_move=True,
        )  # fmt: skip

    def _is_ours(self, url: str) -> bool:
        return origin_of(url) == origin_of(self._server.find_base())

    def _probe(self) -> str:
        server = self._server
        return server.find_base() + server.path(self.repository, "blobs/uploads/")

    def _scope(self, also_from: str) -> str:
        scope = f"repository:{self._server.scope_name(self.repository)}:pull,push"
        if also_from and also_from != self.repository:
            scope += f" repository:{self._server.scope_name(also_from)}:pull"
        return scope
