"""A blob over as many connections as it pays: a probe, then one stream or ranges side by side.

The probe is a first range. It tells whether the server knows ranges, where a redirect leads, and
how fast one connection is; ``pace`` decides the rest. Small parts are read over one connection.
"""

import io
import time

from sampan.registry.blob import LONGEST_READ_S, PIECE_BYTES, BlobReader
from sampan.registry.blob_source import BlobSource, NoRangesError
from sampan.registry.pace import MEASURED_S, SETTLING_S, Pace
from sampan.registry.ranges import SLOTS, RangeWindow

WORTH_RANGES = 32 << 20
"""Bytes that are worth a probe."""

_PROBE_BYTES = 4 << 20
_LEAST_MEMORY = SLOTS << 20
_NOT_WORTH_S = 1.0
"""What takes less time over one connection is not spread over several."""


def open_blob_part(source: BlobSource, first: int, end: int, *, memory: int) -> io.RawIOBase:
    """The bytes of a blob from ``first`` to ``end``; nothing is asked before the first read.

    Args:
        source: of the blob.
        first: where to begin.
        end: where to stop.
        memory: bytes that may lie in memory unread.
    """
    if end - first < WORTH_RANGES or memory < _LEAST_MEMORY:
        return BlobReader(source, first, end)
    return AdaptiveReader(source, first, end, memory=memory)


class AdaptiveReader(io.RawIOBase):
    """See the module; errors as of ``BlobReader``."""

    def __init__(self, source: BlobSource, first: int, end: int, *, memory: int) -> None:
        super().__init__()
        self._source = source
        self._at = first
        self._end = end
        self._memory = memory
        self._pace = Pace()
        self._single: BlobReader | None = BlobReader(source, first, first + _PROBE_BYTES)
        self._window: RangeWindow | None = None
        self._probe_end = first + _PROBE_BYTES
        # Of the measurement under way: since when, bytes and waiting until then.
        self._since = 0.0
        self._bytes_before = 0
        self._waited_before = 0.0

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; fewer than ``size`` at the end, and where the network is slow.

        Raises:
            RegistryError: the registry does not give them.
        """
        left = self._end - self._at
        wanted = left if size < 0 else min(size, left)
        parts: list[bytes] = []
        deadline = time.monotonic() + LONGEST_READ_S
        while wanted > 0 and not (parts and time.monotonic() > deadline):
            piece = self._next(min(wanted, PIECE_BYTES))
            parts.append(piece)
            wanted -= len(piece)
        if self._at == self._end and self._single is not None:
            # Nothing may follow the last byte.
            self._single.read_piece(1)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; see ``read``."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Give up the connections."""
        if self._single is not None:
            self._single.close()
        if self._window is not None:
            self._window.close()
        super().close()

    def _next(self, most: int) -> bytes:
        while not self.closed:
            piece = self._read_single(most) if self._single else self._read_window(most)
            if piece:
                self._at += len(piece)
                return piece
        raise ValueError("the layer was closed while it was read")

    def _read_single(self, most: int) -> bytes:
        single = self._single
        assert single is not None
        piece = single.read_piece(most)
        if self._at < self._probe_end:
            if not self._since:
                # From the first bytes on: the handshake says nothing about the rate.
                self._mark(self._at + len(piece), single.waited_s)
                if single.is_whole:
                    single.take_all()
                    self._probe_end = 0
            return piece
        if not piece and self._at == self._probe_end:
            self._after_probe(single)
        return piece

    def _after_probe(self, single: BlobReader) -> None:
        rate, share = self._measured(self._at, single.waited_s)
        self._pace.probe(rate, share)
        single.close()
        if self._pace.is_settled or (self._end - self._at) / rate < _NOT_WORTH_S:
            self._single = BlobReader(self._source, self._at, self._end)
            self._probe_end = 0
            return
        self._single = None
        self._window = RangeWindow(
            self._source,
            self._at,
            self._end,
            connections=self._pace.connections,
            memory=self._memory,
        )
        self._mark(0, 0.0, settling_s=SETTLING_S)

    def _read_window(self, most: int) -> bytes:
        window = self._window
        assert window is not None
        try:
            piece = window.read_piece(most)
        except NoRangesError:
            # It knew them a moment ago: several servers stand behind one name.
            piece = b""
        if not piece:
            window.close()
            self._window = None
            self._single = BlobReader(self._source, self._at, self._end)
            self._probe_end = 0
            return b""
        self._measure(window)
        return piece

    def _measure(self, window: RangeWindow) -> None:
        now = time.monotonic()
        if self._pace.is_settled or now < self._since:
            return
        if not self._bytes_before:
            self._mark(window.received, window.waited_s)
        elif now - self._since >= MEASURED_S:
            self._pace.measure(*self._measured(window.received, window.waited_s))
            if self._pace.connections == 1:
                window.stop()
            else:
                window.set_connections(self._pace.connections)
            self._mark(0, 0.0, settling_s=SETTLING_S)

    def _mark(self, received: int, waited_s: float, *, settling_s: float = 0.0) -> None:
        self._since = time.monotonic() + settling_s
        self._bytes_before = received
        self._waited_before = waited_s

    def _measured(self, received: int, waited_s: float) -> tuple[float, float]:
        """Bytes a second, and the share of the time spent waiting, since the mark."""
        elapsed = max(time.monotonic() - self._since, 1e-6)
        return (
            (received - self._bytes_before) / elapsed,
            (waited_s - self._waited_before) / elapsed,
        )
