"""Images on their way between registries and files: what is told meanwhile, and what an end can do."""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple, Protocol

from sampan.model.manifest import Descriptor


class TransferEvent(NamedTuple):
    """One step.

    Attributes:
        kind: ``sending`` (``done`` of ``total`` bytes; 0 total = unknown), ``sent``,
            ``fetched`` (into a file of the user's), ``present`` (nothing to do), ``mounted`` (taken from another repository of the registry),
            ``manifest``, ``warning``.
        text: the blob's label, or the warning.
    """

    kind: str
    text: str = ""
    done: int = 0
    total: int = 0


Hear = Callable[[TransferEvent], None]
"""Called by any thread."""


class ImageEnd(Protocol):
    """Where images can be read from: a registry's repository, a layout."""

    @property
    def place(self) -> str:
        """``REGISTRY/REPOSITORY``; empty for files."""

    def find_top(self) -> Descriptor:
        """What the user named: a manifest or an index.

        Raises:
            SampanError: there is nothing of that name.
        """

    def read_document(self, descriptor: Descriptor) -> bytes:
        """A manifest or index, verified.

        Raises:
            SampanError: it cannot be had, or is another.
        """

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """A blob's bytes from the start; whoever writes them compares the digest.

        Raises:
            SampanError: now or while reading: it cannot be had.
        """


class ImageTarget(Protocol):
    """Where images can be written to."""

    @property
    def parallel(self) -> int:
        """Blobs that may be written at once."""

    def has_top(self, descriptor: Descriptor) -> bool:
        """Whether the target's name means this document already.

        Raises:
            SampanError: it cannot be asked.
        """

    def has_document(self, descriptor: Descriptor) -> bool:
        """Whether a manifest, with all that it names, is there.

        Raises:
            SampanError: it cannot be asked.
        """

    def put_blob(self, descriptor: Descriptor, source: ImageEnd, hear: Hear, label: str) -> int:
        """Take a blob over unless it is there; the bytes that were moved.

        Raises:
            SampanError: it cannot be read or written, or is not what its digest says.
        """

    def put_document(self, descriptor: Descriptor, content: bytes, *, is_top: bool) -> None:
        """Take a manifest or index over; all that it names is there. The top one gets the name.

        Raises:
            SampanError: it cannot be written.
        """
