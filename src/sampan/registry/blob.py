"""A layer straight from the registry as a stream, which survives broken connections.

After a break it asks for the rest (``Range``); where a server knows no ranges it reads the
beginning again and throws it away. What was given out is never given out twice, so a reader that
hashes and unpacks notices nothing.
"""

import io
import time
from typing import BinaryIO, NamedTuple, cast

import urllib3

from sampan.registry.client import Origin, RegistryClient, shared_client
from sampan.registry.failures import (
    CertificateError,
    RegistryError,
    UnreachableError,
    clean_text,
    explain_breakage,
    plain_url,
)
from sampan.registry.transport import BREAKAGES, Answer

PROGRESS_BYTES = 1 << 20
"""Progress that makes a break the first one again."""

_PIECE_BYTES = 256 << 10


class RemoteLayer(NamedTuple):
    """A layer in a registry; see model.source.SourceLayer."""

    label: str
    digest: str
    diff_id: str
    size: int
    origin: Origin
    repository: str

    @property
    def is_portable(self) -> bool:
        """Any process can ask the registry."""
        return True

    def open(self) -> BinaryIO:
        """See SourceLayer; the registry is asked at the first read."""
        client = shared_client(self.origin)
        return cast("BinaryIO", BlobReader(client, self.repository, self.digest, self.size))


class BlobReader(io.RawIOBase):
    """The bytes of one blob, exactly as many as its descriptor says."""

    def __init__(self, client: RegistryClient, repository: str, digest: str, size: int) -> None:
        super().__init__()
        self._client = client
        self._repository = repository
        self._digest = digest
        self._size = size
        self._done = 0
        self._body: urllib3.BaseHTTPResponse | None = None
        self._url = ""
        self._failures = 0
        self._failed_at = 0
        self._waited_s = 0.0
        self._waited_from = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, fewer than ``size`` only at the end.

        Raises:
            RegistryError: the registry does not give them, or gives more than it said.
        """
        left = self._size - self._done
        wanted = left if size < 0 else min(size, left)
        if left == 0:
            self._finish()
            return b""
        parts: list[bytes] = []
        while wanted > 0:
            piece = self._next(min(wanted, _PIECE_BYTES))
            parts.append(piece)
            wanted -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; see ``read``."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Give up the connection unless it is at its end."""
        self._drop()
        super().close()

    def _next(self, most: int) -> bytes:
        # Another thread may close us while we read: then nothing is opened anew.
        while not self.closed:
            try:
                body = self._body or self._connect()
                start = time.monotonic()
                piece = body.read1(most, decode_content=False)
                self._check_pace(time.monotonic() - start, len(piece))
                if piece:
                    self._done += len(piece)
                    return piece
                failure: RegistryError = self._too_short()
            except BREAKAGES as error:
                failure = explain_breakage(error, self._url or f"//{self._client.registry}")
            except UnreachableError as error:
                failure = error
            self._after(failure)
        raise ValueError("the layer was closed while it was read")

    def _connect(self) -> urllib3.BaseHTTPResponse:
        answer = self._client.open_blob(self._repository, self._digest, self._done)
        assert answer.stream is not None
        self._url = answer.url
        self._body = answer.stream
        self._waited_s, self._waited_from = 0.0, self._done
        begin = _first_byte(answer, self._done)
        if begin not in (0, self._done):
            raise self._wrong(f"asked for the bytes from {self._done}, got those from {begin}")
        length = answer.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) != self._size - begin:
            raise self._wrong(
                f"{int(length):,} bytes from {begin:,} on; the manifest says {self._size:,} in all"
            )
        skipped = begin
        while skipped < self._done:
            piece = self._body.read1(min(_PIECE_BYTES, self._done - skipped), decode_content=False)
            if not piece:
                raise self._too_short()
            skipped += len(piece)
        return self._body

    def _check_pace(self, waited_s: float, received: int) -> None:
        """Break off what drips; only the time in which we waited counts."""
        settings = self._client.settings
        self._waited_s += waited_s
        if self._waited_s < settings.read_timeout_s:
            return
        got = self._done + received - self._waited_from
        if got < self._waited_s * settings.stall_bytes_per_s:
            raise TimeoutError(f"{got} bytes in {self._waited_s:.0f} s")
        self._waited_s, self._waited_from = 0.0, self._done + received

    def _after(self, failure: RegistryError) -> None:
        """Wait before the next try, or give up."""
        self._drop()
        if self._done - self._failed_at >= PROGRESS_BYTES:
            self._failures = 0
        self._failed_at = self._done
        self._failures += 1
        if (
            isinstance(failure, CertificateError)
            or self._failures >= self._client.settings.attempts
        ):
            raise type(failure)(
                failure.cause,
                evidence=f"{failure.evidence}; layer {self._digest[:19]}, after {self._done:,} of "
                f"{self._size:,} bytes, {self._failures} times without progress",
                remedy=failure.remedy,
            ) from failure
        time.sleep(self._client.pause(self._failures))

    def _finish(self) -> None:
        """At the end: nothing may follow, and the connection may be used again."""
        body, self._body = self._body, None
        if body is None:
            return
        try:
            more = body.read1(1, decode_content=False)
        except BREAKAGES:
            more = b""
        if more:
            body.close()
            raise self._wrong(f"more than the {self._size:,} bytes that the manifest says")
        body.release_conn()

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _too_short(self) -> UnreachableError:
        return UnreachableError(
            f"{self._client.registry} ends a layer too early",
            evidence=plain_url(self._url),
            remedy="pull again: layers that are complete are not fetched again",
        )

    def _wrong(self, evidence: str) -> RegistryError:
        return RegistryError(
            f"{self._client.registry} gives a layer of another size than its manifest says",
            evidence=f"layer {self._digest[:19]}: {evidence}",
            remedy="pull again; if it stays, the registry is damaged: push the image again",
        )


def _first_byte(answer: Answer, asked: int) -> int:
    """Where the body begins: 206 says it in Content-Range (RFC 9110, 14.4); 200 at 0."""
    if answer.status != 206:
        return 0
    text = answer.headers.get("content-range", "").strip()
    first = text.removeprefix("bytes").strip().partition("-")[0]
    if not first:
        return asked
    if not (first.isascii() and first.isdigit()):
        raise RegistryError(
            "a range of a layer cannot be read", evidence=f"Content-Range {clean_text(text)!r}"
        )
    return int(first)
