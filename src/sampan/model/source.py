"""What every source of images gives, on disk or in a registry: a configuration, layers as streams."""

from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from sampan.errors import SampanError
from sampan.model.image import Platform


class SourceError(SampanError):
    """A source cannot be read, is incomplete, or is not what it claims to be."""

    id = "source"


class SourceLayer(Protocol):
    """A layer that can be read once; implementations that can be pickled go to worker processes.

    Attributes:
        label: for messages.
        digest: of the bytes that ``open`` gives, ``sha256:<hex>``; empty when not known before.
        diff_id: of the uncompressed tar; empty when not known before.
        size: of the bytes that ``open`` gives; 0 when not known before.
    """

    @property
    def label(self) -> str:
        """See above."""

    @property
    def digest(self) -> str:
        """See above."""

    @property
    def diff_id(self) -> str:
        """See above."""

    @property
    def size(self) -> int:
        """See above."""

    @property
    def is_portable(self) -> bool:
        """Whether another process can open it."""

    def open(self) -> BinaryIO:
        """The layer's bytes.

        Raises:
            SourceError: they cannot be read, now or while reading.
        """


@runtime_checkable
class ResumableLayer(SourceLayer, Protocol):
    """A layer that can be read from any place on, over a network."""

    def open_part(self, first: int, end: int, *, memory: int) -> BinaryIO:
        """The bytes from ``first`` to ``end`` of what ``open`` gives.

        Args:
            first: where to begin.
            end: where to stop.
            memory: bytes that may be read ahead.

        Raises:
            SourceError: they cannot be read, now or while reading.
        """


class SourceImage(NamedTuple):
    """An image as a source offers it.

    Attributes:
        config: the OCI configuration as it came; None when the source has none and one must be
            made for the layers.
        layers: lowest first.
        platform: what the user asked for when ``config`` is None.
        manifest_digest: empty when the source has no manifest.
        suggested_name: a name that the source carries; may be empty.
        compressed: whether layer sizes are those of compressed bytes.
        warnings: for the user.
        remote: whether the layers come over a network, so that several are worth reading at once
            even where the cores are few.
        run_config: when ``config`` is None: the ``config`` member of the one to be made.
    """

    config: bytes | None
    layers: tuple[SourceLayer, ...]
    platform: Platform | None = None
    manifest_digest: str = ""
    suggested_name: str = ""
    compressed: bool = False
    warnings: tuple[str, ...] = ()
    remote: bool = False
    run_config: Mapping[str, Any] | None = None
