"""Ranges of one blob over several connections, given out in order, in bounded memory.

As many ranges as there are slots are in memory at a time; the first of them is given out while it
still comes. Each range is a ``BlobReader``, so each mends its own breaks.
"""

import threading
import time
from collections import deque

from sampan.registry.blob import PIECE_BYTES, BlobReader
from sampan.registry.blob_source import BlobSource
from sampan.registry.pace import STEPS

_SPARE = 2
"""Ranges beyond one a connection, so that a slow one in front does not stop the others."""

SLOTS = STEPS[-1] + _SPARE
_LEAST_RANGE = 1 << 20
_LARGEST_RANGE = 16 << 20
_PATIENCE_S = 0.5


class _Range:
    """A part of the blob that is being fetched."""

    def __init__(self, first: int, end: int) -> None:
        self.first = first
        self.end = end
        self.pieces: deque[bytes] = deque()
        self.is_complete = False
        self.failure: BaseException | None = None


class RangeWindow:
    """The bytes of a blob from ``first`` to ``end``.

    Attributes:
        received: bytes that have come over all connections.
        waited_s: seconds that the reader waited.
    """

    def __init__(
        self, source: BlobSource, first: int, end: int, *, connections: int, memory: int
    ) -> None:
        """Begin to fetch.

        Args:
            source: of the blob; must know ranges.
            first: where to begin.
            end: where to stop.
            connections: at first.
            memory: bytes that may lie here unread.
        """
        self._source = source
        self._next = first
        self._end = end
        self._length = max(_LEAST_RANGE, min(memory // SLOTS, _LARGEST_RANGE))
        self._connections = 0
        self._ranges: deque[_Range] = deque()
        self._readers: set[BlobReader] = set()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self.received = 0
        self.waited_s = 0.0
        self.set_connections(connections)

    def set_connections(self, number: int) -> None:
        """Use so many from now on; those too many end with their range."""
        with self._changed:
            self._connections = number
            self._changed.notify_all()
            alive = {thread.name for thread in self._threads if thread.is_alive()}
            for position in range(number):
                name = f"sampan-range-{position}"
                if name not in alive:
                    thread = threading.Thread(
                        target=self._work, args=(position,), name=name, daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def stop(self) -> None:
        """Begin no further range: what was begun becomes all there is."""
        with self._changed:
            self._end = self._next
            self._changed.notify_all()

    def read_piece(self, most: int) -> bytes:
        """What has come, in order, at most ``most`` bytes; ``b""`` after the last range.

        Raises:
            NoRangesError: the server gives whole blobs only.
            RegistryError: it does not give a range.
        """
        start = time.monotonic()
        with self._changed:
            while True:
                while self._ranges and not self._ranges[0].pieces and self._ranges[0].is_complete:
                    self._ranges.popleft()
                    self._changed.notify_all()
                front = self._ranges[0] if self._ranges else None
                if front is not None and front.pieces:
                    piece = front.pieces.popleft()
                    if len(piece) > most:
                        front.pieces.appendleft(piece[most:])
                        piece = piece[:most]
                    break
                if front is not None and front.failure is not None:
                    raise front.failure
                if front is None and self._next >= self._end:
                    piece = b""
                    break
                self._changed.wait()
        self.waited_s += time.monotonic() - start
        return piece

    def close(self) -> None:
        """Give up what is under way."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            readers = list(self._readers)
        for reader in readers:
            reader.close()
        deadline = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, position: int) -> None:
        while (part := self._begin(position)) is not None:
            reader = BlobReader(self._source, part.first, part.end, insists=True)
            with self._changed:
                self._readers.add(reader)
            try:
                self._fetch(part, reader)
            except BaseException as error:  # told to the reader, at its place
                with self._changed:
                    part.failure = error
                    self._changed.notify_all()
                return
            finally:
                with self._changed:
                    self._readers.discard(reader)
                reader.close()

    def _begin(self, position: int) -> _Range | None:
        """The next range as soon as there is room for it; None when there is none for us."""
        with self._changed:
            while True:
                if self._is_closed or position >= self._connections or self._next >= self._end:
                    return None
                if len(self._ranges) < self._connections + _SPARE:
                    break
                self._changed.wait()
            part = _Range(self._next, min(self._next + self._length, self._end))
            self._next = part.end
            self._ranges.append(part)
            # The reader may wait for a first range.
            self._changed.notify_all()
            return part

    def _fetch(self, part: _Range, reader: BlobReader) -> None:
        while piece := reader.read_piece(PIECE_BYTES):
            with self._changed:
                if self._is_closed:
                    return
                part.pieces.append(piece)
                self.received += len(piece)
                self._changed.notify_all()
        with self._changed:
            part.is_complete = True
            self._changed.notify_all()
