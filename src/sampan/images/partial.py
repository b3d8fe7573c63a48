"""What was fetched of a layer before a kill, so that a slow link need not carry it twice.

A layer is packed while it is fetched, and its compressed bytes lie nowhere. That is right as long
as the network is quick. Where the rest of a layer would take long, its bytes are kept from there on
in ``partial/<hex>.<offset>``: no description beside it, the length is what there is. The next pull
fetches what is before the offset, reads the file, and goes on with the network where the file ends.
Every byte is hashed again with the layer, so a damaged file costs a fetch and nothing else.
"""

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from sampan.images.store_layout import StoreLayout, hex_of
from sampan.model.source import ResumableLayer

WORTH_KEEPING_S = 20.0
"""A rest that takes longer, at the rate seen, is kept."""

_MEASURED_S = 2.0
KEPT_FOR_S = 7 * 86400.0


class Partial(NamedTuple):
    """The kept bytes of a layer from ``first`` to ``end``."""

    path: str
    first: int
    end: int


class KeptStream(io.RawIOBase):
    """A layer's bytes: what was kept from the disk, the rest from the network; slow ones kept.

    Attributes:
        waited_s: seconds spent waiting for the network.
        is_resumed: whether kept bytes were given out.
    """

    def __init__(
        self,
        layout: StoreLayout,
        layer: ResumableLayer,
        *,
        memory: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet.

        Args:
            layout: the store; the layer's lock is held.
            layer: with digest and size.
            memory: bytes that may be read ahead.
            clock: seconds.
        """
        super().__init__()
        self._layout = layout
        self._layer = layer
        self._memory = memory
        self._clock = clock
        self._partial = find_partial(layout, layer.digest, layer.size)
        self._at = 0
        self._source: BinaryIO | None = None
        self._source_end = 0
        self._is_wire = False
        self._fetched = 0
        self._kept: int | None = None
        self._keeping = threading.Lock()
        self._may_keep = True
        self.waited_s = 0.0
        self.is_resumed = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; ``b""`` at the end.

        Raises:
            SourceError: the network does not give them.
        """
        while not self.closed:
            if self._source is None:
                self._open_next()
            assert self._source is not None
            start = self._clock()
            data = self._source.read(size)
            if self._is_wire:
                self.waited_s += self._clock() - start
            if data:
                self._took(data)
                return data
            self._source.close()
            if self._at < self._source_end and not self._is_wire:
                # The file has become shorter than it was.
                self._partial = None
            elif self._at >= self._layer.size:
                return b""
            self._source = None
        raise ValueError("the layer was closed while it was read")

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; see ``read``."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Leave what is kept for the next pull."""
        self._may_keep = False
        if self._source is not None:
            self._source.close()
        self._stop_keeping()
        super().close()

    def _open_next(self) -> None:
        partial, layer = self._partial, self._layer
        self._is_wire = True
        if partial is not None and self._at == partial.first:
            with contextlib.suppress(OSError):
                self._source = open(partial.path, "rb", buffering=0)  # noqa: SIM115 - ours to close
                self._source_end, self._is_wire, self.is_resumed = partial.end, False, True
                return
            self._partial = partial = None
        if partial is not None and self._at == partial.end:
            self._keep_in(partial.path, os.O_APPEND)
        before = partial is not None and self._at < partial.first
        self._source_end = partial.first if partial is not None and before else layer.size
        self._source = layer.open_part(self._at, self._source_end, memory=self._memory)

    def _took(self, data: bytes) -> None:
        at, self._at = self._at, self._at + len(data)
        if not self._is_wire:
            return
        self._fetched += len(data)
        if self._kept is not None:
            self._keep(data)
        elif self._may_keep and self._partial is None and self._is_slow():
            self._may_keep = False
            path = f"{self._layout.partials}/{hex_of(self._layer.digest)}.{at}"
            self._keep_in(path, os.O_CREAT | os.O_TRUNC)
            self._keep(data)

    def _is_slow(self) -> bool:
        """Whether the network, not what we do with its bytes, will need long for the rest."""
        if self.waited_s < _MEASURED_S:
            return False
        rest = self._layer.size - self._at
        return rest * self.waited_s / self._fetched > WORTH_KEEPING_S

    def _keep_in(self, path: str, flags: int) -> None:
        with contextlib.suppress(OSError):
            self._kept = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o644)

    def _keep(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            # Another thread may close us: its number must not be another file's by now.
            with self._keeping:
                while rest and self._kept is not None:
                    rest = rest[os.write(self._kept, rest) :]
        except OSError:
            # No room for what is only a help: the pack needs it more.
            self._stop_keeping()
            drop_partials(self._layout, self._layer.digest)

    def _stop_keeping(self) -> None:
        with self._keeping:
            if self._kept is not None:
                os.close(self._kept)
                self._kept = None


def find_partial(layout: StoreLayout, digest: str, size: int) -> Partial | None:
    """The most that was kept of a layer; what cannot be of use is deleted."""
    found: list[Partial] = []
    for path in list_partials(layout):
        name, _, offset = os.path.basename(path).partition(".")
        if name != hex_of(digest):
            continue
        with contextlib.suppress(OSError, ValueError):
            first = int(offset)
            found.append(Partial(path, first, first + os.lstat(path).st_size))
    best = max(
        (one for one in found if 0 <= one.first < one.end <= size),
        key=lambda one: one.end - one.first,
        default=None,
    )
    for one in found:
        if one != best:
            _delete(one.path)
    return best


def drop_partials(layout: StoreLayout, digest: str) -> None:
    """Delete what was kept of a layer: it is packed, or it is wrong."""
    for path in list_partials(layout):
        if os.path.basename(path).partition(".")[0] == hex_of(digest):
            _delete(path)


def sweep_partials(layout: StoreLayout, now: float) -> None:
    """Delete what nobody has come back for in a week."""
    for path in list_partials(layout):
        with contextlib.suppress(OSError):
            if now - os.lstat(path).st_mtime > KEPT_FOR_S:
                os.unlink(path)


def list_partials(layout: StoreLayout) -> Iterator[str]:
    """The paths of all kept parts."""
    try:
        names = sorted(os.listdir(layout.partials))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield f"{layout.partials}/{name}"


def _delete(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
