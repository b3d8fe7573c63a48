"""What takes the room in a store: each image, each layer, what sharing saves (``sampan store du``)."""

import os
from collections import Counter
from typing import NamedTuple

from sampan.images.catalogue import IMAGE_SUFFIXES, list_names, list_records
from sampan.images.store_layout import COMPRESSIONS, PACK_SUFFIXES, StoreLayout


class ImageUsage(NamedTuple):
    """Bytes on disk of one image.

    Attributes:
        names: in the store; may be empty.
        image_bytes: of the single file and the small ones beside it.
        own_bytes: of the packs that no other image uses.
        shared_bytes: of the packs that others use too.
    """

    digest: str
    names: tuple[str, ...]
    image_bytes: int
    own_bytes: int
    shared_bytes: int


class LayerUsage(NamedTuple):
    """Bytes on disk of one pack, and the images that use it (names, or ids without a name)."""

    digest: str
    compression: str
    pack_bytes: int
    images: tuple[str, ...]


class StoreUsage(NamedTuple):
    """Bytes on disk of a store.

    Attributes:
        images: the largest first.
        layers: likewise.
        other_bytes: names, notes, locks, parts of layers, left-overs, quarantine.
        unshared_bytes: of the packs, if each image had its own copy of each of its layers.
    """

    images: tuple[ImageUsage, ...]
    layers: tuple[LayerUsage, ...]
    other_bytes: int
    unshared_bytes: int

    @property
    def image_bytes(self) -> int:
        """Of all images' files."""
        return sum(image.image_bytes for image in self.images)

    @property
    def pack_bytes(self) -> int:
        """Of all packs."""
        return sum(layer.pack_bytes for layer in self.layers)

    @property
    def total_bytes(self) -> int:
        """Of everything."""
        return self.image_bytes + self.pack_bytes + self.other_bytes

    @property
    def ratio(self) -> float:
        """How many times the packs that are used would be there if nothing were shared; 1 at least."""
        used = sum(layer.pack_bytes for layer in self.layers if layer.images)
        return self.unshared_bytes / used if used else 1.0


def measure_usage(layout: StoreLayout) -> StoreUsage:
    """Measure a store that exists.

    Raises:
        DamagedStoreError: a record or a name is damaged.
        OSError: a directory cannot be read.
    """
    sizes = _sizes(layout)
    records = list_records(layout)
    names: dict[str, list[str]] = {}
    for known in list_names(layout):
        names.setdefault(known.image, []).append(known.reference.familiar)
    packs = {
        record.digest: {(record.compression, layer.pack) for layer in record.layers}
        for record in records
    }
    uses = Counter(pack for used in packs.values() for pack in used)
    users: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for pack in packs[record.digest]:
            word = names.get(record.digest, [record.digest[7:19]])[0]
            users.setdefault(pack, []).append(word)

    def pack_size(compression: str, digest: str) -> int:
        paths = (layout.pack_file(compression, digest, suffix) for suffix in PACK_SUFFIXES)
        return sum(sizes.pop(path, 0) for path in paths)

    layers = {
        (compression, f"sha256:{name.removesuffix('.index')}"): 0
        for compression in COMPRESSIONS
        for name in _names_in(layout.packs(compression))
        if name.endswith(".index")
    }
    for pack in layers:
        layers[pack] = pack_size(*pack)
    images = []
    for record in records:
        paths = (layout.image_file(record.digest, suffix) for suffix in IMAGE_SUFFIXES)
        used = packs[record.digest]
        images.append(
            ImageUsage(
                record.digest,
                tuple(names.get(record.digest, ())),
                sum(sizes.pop(path, 0) for path in paths),
                sum(layers.get(pack, 0) for pack in used if uses[pack] == 1),
                sum(layers.get(pack, 0) for pack in used if uses[pack] > 1),
            )
        )
    return StoreUsage(
        tuple(sorted(images, key=lambda one: (-one.image_bytes, one.digest))),
        tuple(
            sorted(
                (
                    LayerUsage(
                        digest, compression, size, tuple(users.get((compression, digest), ()))
                    )
                    for (compression, digest), size in layers.items()
                ),
                key=lambda one: (-one.pack_bytes, one.digest),
            )
        ),
        sum(sizes.values()),
        sum(layers.get(pack, 0) * times for pack, times in uses.items()),
    )


def _names_in(directory: str) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if not name.startswith(".")]
    except FileNotFoundError:
        return []


def _sizes(layout: StoreLayout) -> dict[str, int]:
    """Path -> bytes on disk of every file in the store; what vanishes meanwhile does not count."""
    sizes = {}
    for directory, _, files in os.walk(layout.root):
        for name in files:
            path = f"{directory}/{name}"
            try:
                sizes[path] = os.lstat(path).st_blocks * 512
            except FileNotFoundError:
                continue
    return sizes
