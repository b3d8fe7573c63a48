"""A layer straight from the registry as a stream, which survives broken connections.

After a break it asks for the rest (``Range``); where a server knows no ranges it reads the
beginning again and throws it away. What was given out is never given out twice, so a reader that
hashes and unpacks notices nothing.
"""

import contextlib
import io
import time
from typing import BinaryIO, NamedTuple, cast

from sampan.registry.blob_source import BlobBody, BlobSource, NoRangesError
from sampan.registry.client import Origin
from sampan.registry.failures import (
    CertificateError,
    RegistryError,
    UnreachableError,
    explain_breakage,
    plain_url,
)
from sampan.registry.shared_clients import shared_client
from sampan.registry.transport import BREAKAGES

PROGRESS_BYTES = 1 << 20
"""Progress that makes a break the first one again."""

PIECE_BYTES = 256 << 10

LONGEST_READ_S = 0.25
"""After so long a read gives what there is: who counts or keeps the bytes wants them soon."""

DEFAULT_MEMORY = 48 << 20


class RemoteLayer(NamedTuple):
    """A layer in a registry; see model.source.SourceLayer and ResumableLayer.

    Attributes:
        urls: of a foreign layer: where it is when the registry does not have it.
    """

    label: str
    digest: str
    diff_id: str
    size: int
    origin: Origin
    repository: str
    urls: tuple[str, ...] = ()

    @property
    def is_portable(self) -> bool:
        """Any process can ask the registry."""
        return True

    def open(self) -> BinaryIO:
        """See SourceLayer; the registry is asked at the first read."""
        return self.open_part(0, self.size, memory=DEFAULT_MEMORY)

    def open_part(self, first: int, end: int, *, memory: int) -> BinaryIO:
        """See ResumableLayer; the registry is asked at the first read."""
        from sampan.registry.adaptive import open_blob_part

        client = shared_client(self.origin)
        source = BlobSource(client, self.repository, self.digest, self.size, self.urls)
        return cast("BinaryIO", open_blob_part(source, first, end, memory=memory))


class BlobReader(io.RawIOBase):
    """The bytes of one blob from ``first`` to ``end``, exactly as many as there are between.

    Attributes:
        is_whole: whether the server gave everything where a part was asked for.
        waited_s: seconds spent waiting for the network.
    """

    def __init__(
        self,
        source: BlobSource,
        first: int = 0,
        end: int | None = None,
        *,
        insists: bool = False,
    ) -> None:
        """Connect at the first read.

        Args:
            source: of the blob.
            first: where to begin.
            end: where to stop; None = at the blob's end.
            insists: raise NoRangesError rather than read a beginning that nobody wants.
        """
        super().__init__()
        self._source = source
        self._client = source.client
        self._first = first
        self._end = source.size if end is None else end
        self._insists = insists
        self._done = first
        self._body: BlobBody | None = None
        self._url = ""
        self._failures = 0
        self._failed_at = first
        self._stalled_s = 0.0
        self._stalled_from = first
        self.is_whole = False
        self.waited_s = 0.0

    def readable(self) -> bool:
        """Always."""
        return True

    def take_all(self) -> None:
        """Go on to the end of the blob: for a server that gives it anyway."""
        self._end = self._source.size

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; fewer than ``size`` at the end, and where the network is slow.

        Raises:
            RegistryError: the registry does not give them, or gives more than it said.
        """
        left = self._end - self._done
        wanted = left if size < 0 else min(size, left)
        if left == 0:
            self._finish()
            return b""
        parts: list[bytes] = []
        deadline = time.monotonic() + LONGEST_READ_S
        while wanted > 0 and not (parts and time.monotonic() > deadline):
            piece = self.read_piece(min(wanted, PIECE_BYTES))
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
        super().close()
        self._drop()

    def read_piece(self, most: int) -> bytes:
        """What has come, at most ``most`` bytes and at least one; ``b""`` at the end.

        Raises:
            RegistryError: as of ``read``.
        """
        if self._done == self._end:
            self._finish()
            return b""
        # Another thread may close us while we read: then nothing is opened anew.
        while not self.closed:
            start = time.monotonic()
            try:
                body = self._body or self._connect()
                piece = body.stream.read1(min(most, self._end - self._done), decode_content=False)
                self._check_pace(time.monotonic() - start, len(piece))
                if piece:
                    self._done += len(piece)
                    return piece
                failure: RegistryError = self._too_short()
            except BREAKAGES as error:
                failure = explain_breakage(error, self._url or f"//{self._client.registry}")
            except UnreachableError as error:
                failure = error
            except AttributeError as error:
                # http.client, when its response is closed between two lines of its own.
                if self._body is not None:
                    raise
                raise ValueError("the layer was closed while it was read") from error
            finally:
                self.waited_s += time.monotonic() - start
            self._after(failure)
        raise ValueError("the layer was closed while it was read")

    def _connect(self) -> BlobBody:
        end = None if self._end == self._source.size else self._end
        body = self._source.open(self._done, end)
        self._body, self._url = body, body.url
        self._stalled_s, self._stalled_from = 0.0, self._done
        self.is_whole = body.begin == 0 and body.end == self._source.size and end is not None
        if self._insists and body.begin != self._done:
            raise NoRangesError(
                f"{self._client.registry} gives whole layers only", evidence=plain_url(self._url)
            )
        skipped = body.begin
        while skipped < self._done:
            most = min(PIECE_BYTES, self._done - skipped)
            piece = body.stream.read1(most, decode_content=False)
            if not piece:
                raise self._too_short()
            skipped += len(piece)
        return body

    def _check_pace(self, waited_s: float, received: int) -> None:
        """Break off what drips; only the time in which we waited counts."""
        settings = self._client.settings
        self._stalled_s += waited_s
        if self._stalled_s < settings.read_timeout_s:
            return
        got = self._done + received - self._stalled_from
        if got < self._stalled_s * settings.stall_bytes_per_s:
            raise TimeoutError(f"{got} bytes in {self._stalled_s:.0f} s")
        self._stalled_s, self._stalled_from = 0.0, self._done + received

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
                evidence=f"{failure.evidence}; layer {self._source.digest[:19]}, after "
                f"{self._done:,} of {self._source.size:,} bytes, {self._failures} times without "
                "progress",
                remedy=failure.remedy,
            ) from failure
        time.sleep(self._client.pause(self._failures))

    def _finish(self) -> None:
        """At the end: nothing may follow, and the connection may be used again."""
        body, self._body = self._body, None
        if body is None:
            return
        if body.end != self._end:
            # A part of a whole: what follows was not asked for.
            body.stream.close()
            return
        try:
            more = body.stream.read1(1, decode_content=False)
        except BREAKAGES:
            more = b""
        if more:
            body.stream.close()
            raise self._source.refuse(
                f"more than the {self._source.size:,} bytes that the manifest says"
            )
        body.stream.release_conn()

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            # Another thread may be reading: its read ends now, and close need not wait for it.
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                body.stream.shutdown()
            body.stream.close()

    def _too_short(self) -> UnreachableError:
        return UnreachableError(
            f"{self._client.registry} ends a layer too early",
            evidence=plain_url(self._url),
            remedy="pull again: layers that are complete are not fetched again",
        )
