"""One blob on its way to a registry: in one request, in pieces, or in one stream.

What is sent in pieces is kept until the registry has confirmed it, so that a break costs no more
than a piece; after one the registry is asked what it has (distribution-spec, "Pushing a blob in
chunks"). Digests are computed while the bytes pass. Where a registry does not take pieces, the blob
is sent in one stream; where its proxy finds them too large, in smaller ones.
"""

import hashlib
import re
import time
from collections.abc import Callable
from typing import BinaryIO, NamedTuple, cast
from urllib.parse import quote, urlsplit

from sampan.registry.failures import RegistryError, UnreachableError, clean_text, plain_url
from sampan.registry.transport import Answer
from sampan.registry.upload_channel import UploadChannel

PIECE_BYTES = 16 << 20
"""Sent and held in memory at a time, for each blob under way."""

_LEAST_PIECE = 1 << 20
_MOST_PIECE = 256 << 20
_BYTES = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes[= ])?0-(\d{1,19})", re.ASCII)
_TAKEN = frozenset({200, 201, 202, 204})
_PASSING = frozenset({408, 425, 429, 499, 500, 502, 503, 504, 522})
_NO_PIECES = frozenset({400, 405, 411, 416, 501})
"""What registries answer to a second piece when they take only one."""


class BlobToPush(NamedTuple):
    """A blob that a registry shall have.

    Attributes:
        label: for messages.
        open: gives its bytes from the start; called again when an upload has to begin anew.
        digest: when known before; then what comes is held against it.
        size: likewise; 0 when not known.
    """

    label: str
    open: Callable[[], BinaryIO]
    digest: str = ""
    size: int = 0


class PushedBlob(NamedTuple):
    """What the registry has now."""

    digest: str
    size: int


Progress = Callable[[int], None]
"""Hears the bytes confirmed so far; may raise to stop."""


class _LostError(Exception):
    """The registry has forgotten an upload, or is not where we think; begin anew."""


class _NoPiecesError(Exception):
    """The registry does not take a blob in pieces."""


class Upload:
    """One blob on its way."""

    def __init__(self, channel: UploadChannel, blob: BlobToPush, progress: Progress) -> None:
        self._channel = channel
        self._blob = blob
        self._progress = progress
        self._piece = PIECE_BYTES
        self._in_pieces = True
        self._most = channel.client.settings.attempts

    def run(self) -> PushedBlob:
        """Send it.

        Raises:
            RegistryError: the registry does not take it.
            SampanError: its source cannot be read, or is not what its digest says.
        """
        failures = 0
        while True:
            location = self._begin()
            try:
                with self._blob.open() as stream:
                    return self._send(location, stream)
            except _NoPiecesError:
                self._in_pieces = False
            except (_LostError, UnreachableError) as error:
                failures += 1
                if failures >= self._most:
                    raise self._give_up(error, failures) from error
                time.sleep(self._channel.client.pause(failures))

    def _begin(self) -> str:
        """Where to send the blob from its first byte on."""
        self._progress(0)
        answer = self._channel.request("POST", "blobs/uploads/", headers={"Content-Length": "0"})
        if answer.status != 202:
            raise self._refuse(answer, "POST")
        least = answer.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit():
            self._piece = min(max(self._piece, int(least)), _MOST_PIECE)
        return self._channel.location(answer)

    def _send(self, location: str, stream: BinaryIO) -> PushedBlob:
        if not self._in_pieces:
            return self._send_stream(location, stream)
        first = _read_exactly(stream, self._piece)
        if len(first) < self._piece:
            return self._send_whole(location, first)
        return self._send_pieces(location, first, stream)

    def _send_whole(self, location: str, content: bytes) -> PushedBlob:
        pushed = PushedBlob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
        self._check_source(pushed)
        self._finish(location, pushed, content)
        return pushed

    def _send_pieces(self, location: str, first: bytes, stream: BinaryIO) -> PushedBlob:
        digest = hashlib.sha256()
        done = 0
        piece = first
        while piece:
            digest.update(piece)
            location = self._send_piece(location, piece, done)
            done += len(piece)
            self._progress(done)
            piece = _read_exactly(stream, self._piece)
        pushed = PushedBlob(f"sha256:{digest.hexdigest()}", done)
        self._check_source(pushed)
        self._finish(location, pushed, b"")
        return pushed

    def _send_piece(self, location: str, piece: bytes, start: int) -> str:
        """Send bytes until the registry has confirmed all of them; where to go on."""
        end = start + len(piece)
        at = start
        failures = 0
        while True:
            answer, failure = self._patch(location, piece[at - start :], at)
            if answer is not None and answer.status in _TAKEN:
                location = self._channel.location(answer)
                confirmed = _confirmed(answer)
                if confirmed is None:
                    return location
                if confirmed <= at:
                    raise _LostError(f"the registry confirms {confirmed} of {end} bytes")
            else:
                if answer is not None:
                    self._check_refusal(answer, at)
                    failure = self._refuse(answer, "PATCH")
                failures += 1
                if failures >= self._most:
                    assert failure is not None
                    raise failure
                time.sleep(self._channel.client.pause(failures))
                location, confirmed = self._ask_progress(location)
                if confirmed == 1 and start == 0:
                    # distribution says 0-0 for nothing, too.
                    confirmed = 0
                if answer is not None and answer.status == 416 and confirmed == at:
                    raise _NoPiecesError
            if not start <= confirmed <= end:
                raise _LostError(f"the registry has {confirmed} bytes, we sent {at} to {end}")
            if confirmed == end:
                return location
            if confirmed > at:
                failures = 0
            at = confirmed

    def _patch(
        self, location: str, piece: bytes, at: int
    ) -> tuple[Answer | None, RegistryError | None]:
        """The answer to a piece, or what broke."""
        headers = {**_BYTES, "Content-Range": f"{at}-{at + len(piece) - 1}"}
        try:
            return self._channel.request(
                "PATCH", location, headers=headers, body=piece, attempts=1
            ), None
        except UnreachableError as error:
            return None, error

    def _check_refusal(self, answer: Answer, at: int) -> None:
        """Raise unless the same piece may well be taken a moment later."""
        if answer.status == 404:
            raise _LostError("the registry has forgotten the upload")
        if answer.status == 413 and self._piece > _LEAST_PIECE:
            self._piece = max(self._piece // 4, _LEAST_PIECE)
            raise _LostError(f"the registry takes no request of {self._piece * 4} bytes")
        if at and answer.status in _NO_PIECES:
            raise _NoPiecesError
        if answer.status not in _PASSING and answer.status != 416:
            raise self._refuse(answer, "PATCH")

    def _ask_progress(self, location: str) -> tuple[str, int]:
        """Where to go on and how many bytes the registry has."""
        answer = self._channel.request("GET", location)
        confirmed = _confirmed(answer)
        if answer.status not in (202, 204) or confirmed is None:
            raise _LostError(f"the registry does not say what it has (it answers {answer.status})")
        if answer.headers.get("location"):
            location = self._channel.location(answer)
        return location, confirmed

    def _send_stream(self, location: str, stream: BinaryIO) -> PushedBlob:
        passing = _Passing(stream, self._progress)
        headers = dict(_BYTES)
        if self._blob.size:
            headers["Content-Length"] = str(self._blob.size)
        answer = self._channel.request(
            "PATCH", location, headers=headers, body=cast("BinaryIO", passing), attempts=1
        )
        if answer.status in _PASSING or answer.status in (401, 404):
            raise _LostError(f"the registry answers {answer.status}")
        if answer.status not in (201, 202, 204):
            raise self._refuse(answer, "PATCH")
        pushed = PushedBlob(f"sha256:{passing.digest.hexdigest()}", passing.size)
        self._check_source(pushed)
        self._finish(self._channel.location(answer), pushed, b"")
        return pushed

    def _finish(self, location: str, pushed: PushedBlob, content: bytes) -> None:
        """Name the digest, with the content where that was not sent before."""
        joint = "&" if urlsplit(location).query else "?"
        url = f"{location}{joint}digest={quote(pushed.digest, safe=':')}"
        headers = {**_BYTES, "Content-Length": str(len(content))}
        failures = 0
        while True:
            try:
                answer = self._channel.request(
                    "PUT", url, headers=headers, body=content, attempts=1
                )
            except UnreachableError:
                failures += 1
                if content or failures >= self._most:
                    raise
                time.sleep(self._channel.client.pause(failures))
                # It may have been done although nobody told us.
                if find_blob(self._channel, pushed.digest) is not None:
                    break
                continue
            if answer.status in _TAKEN:
                check_stated(self._channel, answer, pushed.digest)
                break
            self._check_end(answer, pushed, content)
            break
        self._progress(pushed.size)

    def _check_end(self, answer: Answer, pushed: PushedBlob, content: bytes) -> None:
        """Return where the blob is there in spite of a refusal, else raise."""
        if answer.status == 413 and self._piece > _LEAST_PIECE:
            self._piece = max(min(self._piece, len(content)) // 4, _LEAST_PIECE)
            raise _LostError("the registry takes no request as large as this blob")
        is_damaged = answer.status == 400 and b"DIGEST" in answer.body.upper()
        if not (answer.status == 404 or answer.status in _PASSING or is_damaged):
            raise self._refuse(answer, "PUT")
        if find_blob(self._channel, pushed.digest) is None:
            words = clean_text(answer.body.decode("utf-8", "replace"))
            raise _LostError(f"the registry answers {answer.status} to its last part: {words}")

    def _check_source(self, pushed: PushedBlob) -> None:
        if self._blob.digest and self._blob.digest != pushed.digest:
            raise RegistryError(
                f"blob {self._blob.label} is not what it was said to be",
                evidence=f"its digest is {pushed.digest}, not {self._blob.digest}",
                remedy="its source is damaged: fetch or export the image again",
            )

    def _refuse(self, answer: Answer, method: str) -> RegistryError:
        error = self._channel.refuse(answer, method)
        error.evidence += f"; blob {self._blob.label}"
        return error

    def _give_up(self, error: Exception, failures: int) -> RegistryError:
        if isinstance(error, UnreachableError):
            return UnreachableError(
                error.cause,
                evidence=f"{error.evidence}; blob {self._blob.label}, {failures} times",
                remedy="push again: what is there already is not sent again",
            )
        return RegistryError(
            f"{self._channel.client.registry} does not keep what we send",
            evidence=f"blob {self._blob.label}: {error}; {failures} times",
            remedy="push again; if it stays, ask the registry's operator",
        )


class _Passing:
    """A stream that is hashed and counted while it is sent."""

    def __init__(self, stream: BinaryIO, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size if size > 0 else 1 << 20)
        self.digest.update(piece)
        self.size += len(piece)
        self._progress(self.size)
        return piece


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    parts = []
    left = size
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _confirmed(answer: Answer) -> int | None:
    """Bytes that an answer's Range says the registry has; None when it says nothing readable."""
    found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
    return int(found[1]) + 1 if found else None


def find_blob(channel: UploadChannel, digest: str) -> int | None:
    """Bytes of a blob that the repository has; None without it. -1 when its size is not said.

    Raises:
        RegistryError: the registry does not say.
    """
    answer = channel.request("HEAD", f"blobs/{digest}")
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise channel.refuse(answer, "HEAD")
    length = answer.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else -1


def check_stated(channel: UploadChannel, answer: Answer, digest: str) -> None:
    """Refuse an answer that names another digest than ``digest``."""
    stated = answer.headers.get("docker-content-digest", "")
    if stated and stated != digest and stated.startswith("sha256:"):
        raise RegistryError(
            f"{channel.client.registry} has stored something else than we sent",
            evidence=f"sent {digest}, it says {clean_text(stated)} ({plain_url(answer.url)})",
            remedy="push again; if it stays, ask the registry's operator",
        )
