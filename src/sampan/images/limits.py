"""What a layer may ask of this machine, and the error that refuses one.

Layers come from strangers. Every length, number and name that a layer declares is held against a
limit here before memory or disk is spent on it. The defaults let the biggest images of NGC pass
(20 GB, several hundred thousand files); a caller may widen or narrow each of them.
"""

from typing import NamedTuple

from sampan.errors import SampanError


class LayerError(SampanError):
    """A layer is refused: damaged, hostile, or beyond a limit.

    The evidence names the layer, the entry (where there is one) and what was seen.
    """

    id = "layer"


class Limits(NamedTuple):
    """Bounds on one layer.

    Attributes:
        max_ratio: bytes out per byte in, for decompression and for sparse maps.
        ratio_floor_bytes: bytes out below which the ratio is not looked at.
        max_entries: tar headers.
        max_header_bytes: one PAX header, or one GNU long name.
        max_path_bytes: one path, normalised.
        max_xattr_bytes: names and values of the extended attributes of one entry.
        max_sparse_segments: data segments of one sparse file.
        max_sparse_bytes: apparent size of all sparse files together.
        max_window_bytes: memory that a zstd or xz stream may claim for its window.
    """

    max_ratio: int = 250
    ratio_floor_bytes: int = 1 << 30
    max_entries: int = 2_000_000
    max_header_bytes: int = 1 << 20
    max_path_bytes: int = 65536
    max_xattr_bytes: int = 256 << 10
    max_sparse_segments: int = 1 << 20
    max_sparse_bytes: int = 2 << 40
    max_window_bytes: int = 1 << 30


DEFAULT_LIMITS = Limits()

FETCH_AGAIN = "fetch or export the layer again; if it stays the same, its maker has to repair it"


def refuse_layer(
    layer: str, reason: str, *, entry: bytes | None = None, remedy: str = FETCH_AGAIN
) -> LayerError:
    """The error that says why ``layer`` (or one ``entry`` of it) is not used."""
    where = f"layer {layer}"
    if entry is not None:
        where += f", entry '{printable(entry)}'"
    return LayerError(f"a layer is refused: {reason}", evidence=f"{where}: {reason}", remedy=remedy)


def refuse_excess(
    layer: str, reason: str, limit: str, limits: Limits, *, entry: bytes | None = None
) -> LayerError:
    """The error for a layer that goes beyond the limit named ``limit``."""
    return refuse_layer(
        layer,
        f"{reason} (limit {limit}: {getattr(limits, limit)})",
        entry=entry,
        remedy=f"if you trust the image, raise the limit {limit}",
    )


def printable(name: bytes) -> str:
    """A name of a layer as it may be shown on a terminal: no control characters, any bytes."""
    text = name[:256].decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown + ("..." if len(name) > 256 else "")
