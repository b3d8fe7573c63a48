"""Where the bytes of one blob come from: the registry, the host it redirects to, a foreign URL.

Each request is checked here: the range that was asked for, the size that the manifest says, the
same entity tag as before. A redirect's signed URL is asked again for further parts until it has
expired; foreign URLs (image-spec, layer.md, non-distributable layers) get no credentials.
"""

import re
import threading
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import urllib3

from sampan.registry.client import RegistryClient
from sampan.registry.failures import (
    NotFoundError,
    RegistryError,
    UnreachableError,
    clean_text,
    plain_url,
)
from sampan.registry.proxies import is_inside
from sampan.registry.settings import may_speak_plainly
from sampan.registry.transport import Answer

_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""What storage hosts answer to a signature that is too old."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)


class NoRangesError(RegistryError):
    """The server gives the whole where a part was asked for."""


class BlobBody(NamedTuple):
    """A body that begins at byte ``begin`` of the blob and should last to ``end``."""

    stream: urllib3.BaseHTTPResponse
    begin: int
    end: int
    url: str


class BlobSource:
    """Opens parts of one blob; safe for threads."""

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        digest: str,
        size: int,
        urls: Sequence[str] = (),
    ) -> None:
        self.client = client
        self.digest = digest
        self.size = size
        self._repository = repository
        self._urls = tuple(urls)
        self._place = ""
        self._tags: dict[str, str] = {}
        self._lock = threading.Lock()

    def open(self, first: int, end: int | None = None) -> BlobBody:
        """Begin to read at ``first``, to ``end`` or to the blob's.

        A server without ranges gives a body that begins at 0, whatever was asked for.

        Raises:
            RegistryError: nobody gives it, or it is not what was asked for.
        """
        answer = self._ask_again(first, end) or self._ask(first, end)
        assert answer.stream is not None
        try:
            begin, stop = self._check(answer, first, self.size if end is None else end)
        except RegistryError:
            answer.stream.close()
            raise
        return BlobBody(answer.stream, begin, stop, answer.url)

    def refuse(self, evidence: str) -> RegistryError:
        """The error for a blob of another size than the manifest says."""
        return RegistryError(
            f"{self.client.registry} gives a layer of another size than its manifest says",
            evidence=f"layer {self.digest[:19]}: {evidence}",
            remedy="pull again; if it stays, the registry is damaged: push the image again",
        )

    def _ask_again(self, first: int, end: int | None) -> Answer | None:
        """From where the registry sent us before; None where that is over."""
        with self._lock:
            place = self._place
        if not place:
            return None
        answer = self._open_elsewhere(place, first, end)
        if answer.stream is not None:
            return answer
        with self._lock:
            if self._place == place:
                self._place = ""
        if answer.status in _EXPIRED:
            return None
        raise UnreachableError(
            f"{urlsplit(place).netloc} does not give a layer at the moment",
            evidence=f"GET {plain_url(place)} answered {answer.status}",
            remedy="pull again: layers that are complete are not fetched again",
        )

    def _open_elsewhere(self, url: str, first: int, end: int | None) -> Answer:
        # Where the registry sends us is its word; where a foreign URL does is the image's.
        is_foreign = url in self._urls and not may_speak_plainly(self.client.registry)
        return self.client.open_elsewhere(url, first, end, stays_outside=is_foreign)

    def _ask(self, first: int, end: int | None) -> Answer:
        try:
            answer = self.client.open_blob(self._repository, self.digest, first, end)
        except NotFoundError:
            if not self._urls:
                raise
            return self._ask_foreign(first, end)
        if answer.is_elsewhere:
            with self._lock:
                self._place = answer.url
        return answer

    def _ask_foreign(self, first: int, end: int | None) -> Answer:
        failures = []
        for url in self._urls:
            reason = _why_not(url, self.client.registry)
            if not reason:
                answer = self._open_elsewhere(url, first, end)
                if answer.stream is not None:
                    with self._lock:
                        self._place = url
                    return answer
                reason = f"answered {answer.status}"
            failures.append(f"{plain_url(url)} {reason}")
        raise NotFoundError(
            f"layer {self.digest[:19]} is kept elsewhere and cannot be had there",
            evidence="; ".join(failures[:5]),
            remedy="its maker says who may have it and where; the registry holds only its address",
        )

    def _check(self, answer: Answer, first: int, end: int) -> tuple[int, int]:
        begin, stop = (0, self.size)
        if answer.status == 206:
            begin, stop = self._read_range(answer, first, end)
        length = answer.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) != stop - begin:
            raise self.refuse(
                f"{int(length):,} bytes from {begin:,} on; the manifest says {self.size:,} in all"
            )
        self._check_tag(answer)
        return begin, stop

    def _read_range(self, answer: Answer, first: int, end: int) -> tuple[int, int]:
        text = answer.headers.get("content-range", "").strip()
        if not text:
            return first, end
        found = _CONTENT_RANGE.fullmatch(text)
        if found is None:
            raise RegistryError(
                "a range of a layer cannot be read", evidence=f"Content-Range {clean_text(text)!r}"
            )
        begin, stop = int(found[1]), int(found[2]) + 1
        if found[3] not in ("*", str(self.size)):
            raise self.refuse(f"{int(found[3]):,} bytes in all; the manifest says {self.size:,}")
        if begin not in (0, first) or (begin == first and stop > end):
            raise self.refuse(
                f"asked for the bytes from {first} to {end}, got those from {begin} to {stop}"
            )
        return begin, stop

    def _check_tag(self, answer: Answer) -> None:
        """A strong entity tag stands for the same bytes, as long as one host gives it."""
        tag = answer.headers.get("etag", "")
        if not tag.startswith('"'):
            return
        host = urlsplit(answer.url).netloc
        with self._lock:
            known = self._tags.setdefault(host, tag)
        if known != tag:
            # Of several servers behind one name the next may be the first again: worth a retry.
            raise UnreachableError(
                f"{host} gives another layer than a moment ago",
                evidence=f"{plain_url(answer.url)}: entity tag {clean_text(tag)}, before "
                f"{clean_text(known)}",
                remedy="pull again; if it stays, ask the registry's operator",
            )


def _why_not(url: str, registry: str) -> str:
    """Why a foreign URL is not asked; empty when it is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        return "is no plain http or https URL"
    # An image must not make us ask this machine's own services, or its cloud's (169.254.169.254).
    if may_speak_plainly(registry):
        return ""
    return "is this machine or its link" if is_inside(host) else ""
