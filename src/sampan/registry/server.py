"""One endpoint spoken to: where exactly it is, who we are there, one request with its 401s.

Which endpoint is asked for what, and what an answer means, is the client's.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from sampan.registry.challenges import Challenge, parse_challenges
from sampan.registry.endpoints import Endpoint
from sampan.registry.failures import RegistryError, UnreachableError, clean_text
from sampan.registry.settings import Settings, may_speak_plainly
from sampan.registry.tokens import Authorizer
from sampan.registry.transport import Answer, Transport

_MAXIMUM_PROBE = 64 << 10
_PROBE_TIMEOUT_S = 5.0
_MIRROR_ATTEMPTS = 2
_MIRROR_PAUSE_S = 2.0


class Server:
    """One endpoint; safe for threads. Keeps its tokens."""

    def __init__(
        self, endpoint: Endpoint, registry: str, transport: Transport, settings: Settings
    ) -> None:
        """Ask nothing yet.

        Args:
            endpoint: where, and who we are there.
            registry: the name for people and for what belongs to it (token hosts).
            transport: connections.
            settings: patience, trust.
        """
        self.endpoint = endpoint
        self.name = registry
        self.authorizer = Authorizer(
            registry, endpoint.credential, transport, settings, is_insecure=endpoint.is_insecure
        )
        self.why_not = ""
        self._transport = transport
        self._attempts = _MIRROR_ATTEMPTS if endpoint.is_mirror else None
        self._base = ""
        self._lock = threading.Lock()

    def serves(self, resource: str) -> bool:
        """Whether this endpoint is to be asked for a resource, e.g. ``manifests/latest``.

        A mirror knows neither all tags nor all referrers, and what fails to answer once is not
        asked again.
        """
        if not self.endpoint.is_mirror:
            return True
        kind, _, name = resource.partition("/")
        if self.why_not or kind not in ("manifests", "blobs"):
            return False
        return self.endpoint.has_digests if ":" in name else self.endpoint.has_tags

    def try_to_ask(
        self, repository: str, resource: str, *, headers: Mapping[str, str], limit: int | None,
        method: str = "GET",
    ) -> Answer | None:  # fmt: skip
        """A mirror's answer; None when it has none that we can use. See ``ask``.

        What is small and has a digest is held against it here, so that the next one can be asked.
        """
        try:
            answer = self.ask(
                repository, resource, headers=headers, limit=limit, method=method
            )  # fmt: skip
        except RegistryError as error:
            self.why_not = f"{error.cause} ({error.evidence})"
            return None
        if answer.status not in (200, 206):
            if answer.stream is not None:
                answer.stream.close()
            return None
        kind, _, digest = resource.partition("/")
        if kind == "manifests" and method == "GET" and not _is_object(answer.body):
            # A captive portal, a web page.
            self.why_not = "it gives something else than manifests"
            return None
        if answer.stream is None and method == "GET" and digest.startswith("sha256:"):
            found = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
            if found != digest:
                self.why_not = f"it gave {found[:19]} for {clean_text(digest[:19])}"
                return None
        return answer

    def ask(
        self, repository: str, resource: str, *, headers: Mapping[str, str], limit: int | None,
        method: str = "GET",
    ) -> Answer:  # fmt: skip
        """A request with whatever authorization it takes; other statuses than 401 are the caller's.

        Args:
            repository: as the registry's name for it goes; rewritten where a mirror wants that.
            resource: below the repository, with its query, e.g. ``blobs/sha256:…``.
            headers: besides ``Authorization``.
            limit: see ``Transport.request``.
            method: one that changes nothing.

        Raises:
            UnauthorizedError: it wants other credentials than ours.
            RegistryError: there is no usable answer.
        """
        return self.ask_path(
            self.path(repository, resource),
            f"repository:{self.scope_name(repository)}:pull",
            headers=headers,
            limit=limit,
            method=method,
        )

    def ask_path(
        self, path: str, scope: str, *, headers: Mapping[str, str], limit: int | None,
        method: str = "GET",
    ) -> Answer:  # fmt: skip
        """As ``ask``, for a path and a scope that are complete."""
        url = self.find_base() + path
        header = self.authorizer.current(scope)
        answer = self.send(method, url, headers, header, limit)
        if answer.status != 401 or answer.is_elsewhere:
            return answer
        if header is not None:
            # A token that has expired: the realm for a new one is named to those without any
            # (NGC names another to those with an old one).
            self.authorizer.forget(scope)
            answer = self.send(method, url, headers, None, limit)
            if answer.status != 401:
                return answer
        header = self.authorizer.answer(challenges_of(answer), scope, answer)
        answer = self.send(method, url, headers, header, limit)
        if answer.status == 401 and not answer.is_elsewhere:
            raise self.authorizer.refuse(answer)
        return answer

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        header: str | None,
        limit: int | None,
    ) -> Answer:
        """One request with a given ``Authorization``, or none."""
        whole = {**headers, "Authorization": header} if header else headers
        return self._transport.request(
            method,
            url,
            headers=whole,
            limit=limit,
            attempts=self._attempts,
            # Behind a mirror there is another place to ask.
            longest_pause_s=_MIRROR_PAUSE_S if self.endpoint.is_mirror else None,
        )

    def path(self, repository: str, resource: str) -> str:
        """Path and query of a resource at this endpoint."""
        path = f"{self.endpoint.api}/{self.endpoint.repository(repository)}/{resource}"
        if not self.endpoint.query:
            return path
        return f"{path}{'&' if '?' in path else '?'}{self.endpoint.query}"

    def scope_name(self, repository: str) -> str:
        """A repository as token servers know it: all that follows ``/v2/``."""
        prefix = self.endpoint.api.partition("/v2")[2].strip("/")
        name = self.endpoint.repository(repository)
        return f"{prefix}/{name}" if prefix else name

    def find_base(self) -> str:
        """``https://HOST``; http where this machine's own, or an insecure registry, speaks only that.

        Raises:
            UnreachableError: nobody listens.
        """
        with self._lock:
            if not self._base:
                scheme = self.endpoint.scheme or self._find_scheme()
                self._base = f"{scheme}://{self.endpoint.host}"
            return self._base

    def _find_scheme(self) -> str:
        host = self.endpoint.host
        if may_speak_plainly(host):
            # http first: a server of plain http may wait for ever for the rest of a TLS greeting.
            return "http" if self._answers(f"http://{host}/v2/") else "https"
        if self.endpoint.is_insecure:
            # https first: nothing goes in the clear that need not.
            return "https" if self._answers(f"https://{host}/v2/") else "http"
        return "https"

    def _answers(self, url: str) -> bool:
        try:
            answer = self._transport.request(
                "GET", url, headers={}, limit=_MAXIMUM_PROBE, attempts=1,
                patience_s=_PROBE_TIMEOUT_S,
            )  # fmt: skip
        except UnreachableError as error:
            if "refused" in error.evidence and urlsplit(url).scheme == "http":
                raise
            return False
        except RegistryError:
            return False
        # Servers of https answer 400 to http.
        return answer.status != 400 or urlsplit(url).scheme == "https"


def _is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def challenges_of(answer: Answer) -> list[Challenge]:
    """What a 401 asks for."""
    return parse_challenges([answer.headers.get("www-authenticate", "")])
