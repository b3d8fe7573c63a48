"""An image of the store as others can have it: its configuration as it came, its layers as tars.

Beside each pack lies a note of the blobs that were made of it for registries: a later push of any
image with the layer asks the registry for them before it compresses anything.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from sampan.images.catalogue import find_record, list_all_names
from sampan.images.documents import DamagedStoreError, read_document, read_json
from sampan.images.layer_tar import PackedLayer, locate_layer
from sampan.images.store import StoredImage, locate_image
from sampan.images.store_layout import StoreLayout
from sampan.kernel.atomic import write_atomic
from sampan.model.image import Platform, parse_image_config
from sampan.model.reference import Reference, parse_reference

_MOST_NOTES = 8


class KnownBlob(NamedTuple):
    """A compressed form of a layer that some registry has, or had.

    Attributes:
        digest: of the blob.
        size: bytes; -1 when not known.
        compression: ``gzip``, ``zstd``, ``none``; empty when not known.
        place: ``REGISTRY/REPOSITORY`` that has it; empty when not known.
    """

    digest: str
    size: int
    compression: str
    place: str


class OutgoingLayer(NamedTuple):
    """A layer: its tar, and the blobs of it that are known."""

    packed: PackedLayer
    known: tuple[KnownBlob, ...]


class OutgoingImage(NamedTuple):
    """An image of the store, lowest layer first."""

    image: StoredImage
    config: bytes
    platform: Platform
    layers: tuple[OutgoingLayer, ...]
    names: tuple[Reference, ...]


def open_outgoing(layout: StoreLayout, name: str) -> OutgoingImage:
    """What there is to be given out of an image.

    Args:
        layout: the store.
        name: a name, or an id.

    Raises:
        ImageNotFoundError: there is no such image.
        LayerMissingError: a layer cannot be given out.
        DamagedStoreError: a record or the configuration is damaged.
    """
    image = locate_image(name, store=layout)
    config = read_document(image.config_path)
    found = f"sha256:{hashlib.sha256(config).hexdigest()}"
    record = find_record(layout, image.digest)
    if record is None or found != image.digest:
        raise DamagedStoreError(
            f"image {name} of the store is damaged",
            evidence=f"{image.config_path} is {found}" if record else "its record is missing",
            remedy=f"sampan rmi -f {name}, then pull or import it again",
        )
    place = _place_of(record.source)
    layers = []
    for layer in record.layers:
        packed = locate_layer(layout, record.compression, layer.pack, layer.diff_id, image=name)
        known = _load_known(packed)
        if layer.digest and layer.digest not in (blob.digest for blob in known):
            known = (*known, KnownBlob(layer.digest, -1, "", place))
        layers.append(OutgoingLayer(packed, known))
    names = tuple(one.reference for one in list_all_names(layout) if one.image == image.digest)
    platform = parse_image_config(json.loads(config)).platform
    return OutgoingImage(image, config, platform, tuple(layers), names)


def note_blob(layer: OutgoingLayer, blob: KnownBlob) -> None:
    """Remember that a registry has a blob of a layer, as far as the store may be written."""
    known = [blob, *(one for one in _load_known(layer.packed) if one.digest != blob.digest)]
    document = {"blobs": [one._asdict() for one in known[:_MOST_NOTES]]}
    with contextlib.suppress(OSError):
        write_atomic(_notes(layer.packed), json.dumps(document).encode())


def _notes(packed: PackedLayer) -> Path:
    return Path(packed.index_path).with_suffix(".pushed")


def _load_known(packed: PackedLayer) -> tuple[KnownBlob, ...]:
    """What was noted; a note that cannot be read only costs work."""
    with contextlib.suppress(DamagedStoreError, OSError, KeyError, TypeError, ValueError):
        document: dict[str, Any] = read_json(str(_notes(packed))) or {}
        return tuple(
            KnownBlob(str(b["digest"]), int(b["size"]), str(b["compression"]), str(b["place"]))
            for b in document.get("blobs", ())
        )
    return ()


def _place_of(source: str) -> str:
    """The repository from which an image was pulled."""
    if not source.startswith("docker://"):
        return ""
    return parse_reference(source).name
