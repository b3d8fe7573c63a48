"""Threads that keep a stream flowing: one hashes what passes by, one reads ahead.

Hashing and inflating release the interpreter lock, so each runs beside the tar reader on a core of
its own. Both queues are short: memory stays bounded whatever the stream's length.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

SLAB_BYTES = 1 << 20
"""Bytes handed over at a time: large enough that the hand-over costs nothing."""

_DEPTH = 6
_IDLE_S = 0.5


class SlabSource(Protocol):
    """Whatever gives the next piece of a stream, ``b""`` at its end."""

    def read_slab(self) -> bytes:
        """The next piece, of whatever size is natural."""
        ...


class StreamHash:
    """SHA-256 of a stream, computed in a thread of its own."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] = queue.Queue(_DEPTH)
        self._thread = threading.Thread(target=self._work, name="sampan-hash", daemon=True)
        self._thread.start()
        self._ended = False

    def update(self, data: bytes) -> None:
        """Add ``data``; waits while the hash is far behind."""
        self._queue.put(data)

    def close(self) -> None:
        """Take everything in and end the thread; may be called again."""
        if not self._ended:
            self._ended = True
            self._queue.put(None)
            self._thread.join()

    def digest(self) -> str:
        """``sha256:<hex>`` of all that was added; nothing can be added afterwards."""
        self.close()
        return f"sha256:{self._hash.hexdigest()}"

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            self._hash.update(data)


class ReadAhead:
    """A slab source that another thread reads ahead of its consumer.

    An error of the source is raised by ``read_slab`` at the place where it happened.
    """

    def __init__(
        self,
        source: SlabSource,
        *,
        patience_s: float = 1.0,
        interrupt: Callable[[], None] | None = None,
    ) -> None:
        """Begin to read.

        Args:
            source: read by another thread from now on.
            patience_s: seconds that ``close`` waits for a read under way. A pipe may never give
                another byte, and who interrupts an import does not want to wait for one.
            interrupt: ends a read under way, which ``close`` has then not to wait for; None = a
                source that cannot be disturbed.
        """
        self._source = source
        self._interrupt = interrupt
        self._patience_s = patience_s
        self._queue: queue.Queue[bytes | BaseException] = queue.Queue(_DEPTH)
        self._stopped = False
        self._finished = False
        self._thread = threading.Thread(target=self._work, name="sampan-read", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def read_slab(self, idle: Callable[[], None] | None = None) -> bytes:
        """The next piece of the source, ``b""`` at its end and ever after.

        Args:
            idle: called by this thread every half second in which nothing comes.

        Raises:
            whatever the source raised.
        """
        if self._finished:
            return b""
        slab = self._wait(idle) if idle is not None else self._queue.get()
        if isinstance(slab, bytes) and slab:
            return slab
        self._finished = True
        if isinstance(slab, BaseException):
            raise slab
        return b""

    def close(self) -> None:
        """Stop reading and wait, within reason, until the thread has left the source alone."""
        self._stopped = True
        if self._interrupt is not None and self._thread.is_alive():
            self._interrupt()
        deadline = time.monotonic() + self._patience_s
        while self._thread.is_alive() and time.monotonic() < deadline:
            # The thread may wait for room in the queue: make some until it has seen the flag.
            try:
                self._queue.get(timeout=0.01)
            except queue.Empty:
                continue

    def _wait(self, idle: Callable[[], None]) -> bytes | BaseException:
        while True:
            try:
                return self._queue.get(timeout=_IDLE_S)
            except queue.Empty:
                idle()

    def _work(self) -> None:
        try:
            while not self._stopped:
                slab = self._source.read_slab()
                self._queue.put(slab)
                if not slab:
                    return
        except BaseException as error:
            self._queue.put(error)
