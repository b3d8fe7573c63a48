"""What the store knows of its images: records, names, removal of both (design.md §4)."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.images.documents import read_json
from sampan.images.store import StoredImage, has_image, locate_image, stored_image
from sampan.images.store_access import names_lock, store_errors
from sampan.images.store_layout import StoreLayout
from sampan.kernel.atomic import write_atomic
from sampan.kernel.lock_support import NO_LOCKS
from sampan.kernel.locks import is_held
from sampan.model.reference import Reference, parse_reference

RECORD_VERSION = 1

IMAGE_SUFFIXES = ("record.json", "sif", "facts.json", "config.json")
"""An image's files; the record comes first in removal and last in creation."""


class ImageInUseError(SampanError):
    """A container uses the image, or several names mean it."""

    id = "image-in-use"


class ImageOfSiteError(SampanError):
    """The image lies in a store that is only read here."""

    id = "image-of-site"


class RecordedLayer(NamedTuple):
    """A layer of an image: digest as its source had it, digest of its pack, diffID."""

    digest: str
    pack: str
    diff_id: str


class ImageRecord(NamedTuple):
    """One image's entry in the catalogue.

    Attributes:
        digest: ``sha256:<hex>`` of the config: the image's id.
        imported: seconds since the epoch.
        size: bytes of the SIF.
        source: the user's words for where it came from.
        platform: e.g. ``linux/amd64``.
        compression: of the SIF's blocks and of the packs.
        facts_version: of the facts beside it.
    """

    digest: str
    imported: float
    size: int
    source: str
    platform: str
    compression: str
    facts_version: int
    layers: tuple[RecordedLayer, ...]


class ImageName(NamedTuple):
    """A name in the store: the image it means, and the manifest's digest ("" when there is none)."""

    reference: Reference
    image: str
    manifest_digest: str


def write_record(layout: StoreLayout, record: ImageRecord) -> None:
    """Make an image exist; its other files must be there.

    Raises:
        OSError: the store cannot be written.
    """
    document = {
        "version": RECORD_VERSION,
        **record._asdict(),
        "layers": [layer._asdict() for layer in record.layers],
    }
    write_atomic(
        Path(layout.image_file(record.digest, "record.json")),
        json.dumps(document, indent=1).encode(),
    )


def find_record(layout: StoreLayout, digest: str) -> ImageRecord | None:
    """The record of an image, a site store's too, or None."""
    document = read_json(layout.image_home(digest).image_file(digest, "record.json"))
    if document is None or document.get("version") != RECORD_VERSION:
        return None
    return ImageRecord(
        digest=str(document["digest"]),
        imported=float(document["imported"]),
        size=int(document["size"]),
        source=str(document["source"]),
        platform=str(document["platform"]),
        compression=str(document["compression"]),
        facts_version=int(document["facts_version"]),
        layers=tuple(
            RecordedLayer(str(layer["digest"]), str(layer["pack"]), str(layer["diff_id"]))
            for layer in document["layers"]
        ),
    )


def list_records(layout: StoreLayout) -> list[ImageRecord]:
    """All complete images of this store itself, the newest first."""
    try:
        names = os.listdir(layout.images)
    except FileNotFoundError:
        return []
    records = [
        record
        for name in names
        if name.endswith(".record.json") and not name.startswith(".")
        if (record := find_record(layout, f"sha256:{name.partition('.')[0]}")) is not None
    ]
    return sorted(records, key=lambda record: (-record.imported, record.digest))


def list_names(layout: StoreLayout) -> list[ImageName]:
    """All names of this store itself whose image is there or in a site store, sorted."""
    try:
        files = os.listdir(layout.refs)
    except FileNotFoundError:
        return []
    names = []
    for file_name in files:
        if file_name.startswith("."):
            continue
        ref = read_json(f"{layout.refs}/{file_name}")
        if ref is not None and has_image(layout, str(ref["image"])):
            names.append(
                ImageName(parse_reference(str(ref["name"])), str(ref["image"]), str(ref["digest"]))
            )
    return sorted(names, key=lambda name: str(name.reference))


def list_all_names(layout: StoreLayout) -> list[ImageName]:
    """The names of this store and of the site stores below it; the first store to have one counts."""
    names: dict[str, ImageName] = {}
    for home in (layout, *layout.stack[1:]):
        for name in list_names(home):
            names.setdefault(str(name.reference), name)
    return [names[name] for name in sorted(names)]


def set_name(
    layout: StoreLayout, reference: Reference, digest: str, manifest_digest: str
) -> StoredImage | None:
    """Let a name mean an image, unless the image is gone again: then None.

    Raises:
        StoreError: the store cannot be written.
    """
    document = {"name": str(reference), "image": digest, "digest": manifest_digest}
    with names_lock(layout), store_errors(layout):
        if not has_image(layout, digest):
            return None
        write_atomic(Path(layout.ref_file(reference)), json.dumps(document).encode())
    return stored_image(layout, digest, str(reference))


def remove_image(
    layout: StoreLayout, name: str, *, containers: Mapping[str, str], force: bool = False
) -> list[str]:
    """Take a name away, and the image with its last one; the packs stay until a prune.

    Args:
        layout: the store.
        name: a name, or an id, which stands for all its names.
        containers: image id -> name of a container that uses it.
        force: also when a container uses it, or an id has several names.

    Returns:
        What happened, in docker's words (``Untagged: …``, ``Deleted: …``).

    Raises:
        ImageNotFoundError: there is no such image.
        ImageInUseError: it is needed and ``force`` is not given.
        ImageOfSiteError: it, or its name, is a site store's.
        StoreError: the store cannot be written.
    """
    with store_errors(layout):
        if not os.path.isdir(layout.locks):
            raise _in_site_store(name, locate_image(name, store=layout))
    with names_lock(layout), store_errors(layout):
        image = locate_image(name, store=layout)
        theirs = [known for known in list_names(layout) if known.image == image.digest]
        leaving = [
            known for known in theirs if not image.name or str(known.reference) == image.name
        ]
        is_own = layout.image_home(image.digest).root == layout.root
        if not leaving and (image.name or not is_own):
            raise _in_site_store(name, image)
        if not image.name and len(theirs) > 1 and not force:
            raise ImageInUseError(
                f"image {image.digest[7:19]} has {len(theirs)} names",
                evidence=", ".join(known.reference.familiar for known in theirs),
                remedy="remove one by its name, or all: sampan rmi -f",
            )
        # A site store's image is its owner's to delete; our names of it are ours.
        is_last = is_own and len(leaving) == len(theirs)
        user = containers.get(image.digest)
        if is_last and user is not None and not force:
            raise ImageInUseError(
                f"container {user} uses image {name}",
                evidence=f"image {image.digest[7:19]}",
                remedy=f"sampan rm -f {user}    or: sampan rmi -f {name}",
            )
        if is_last and not force and _is_held(image.sif_path):
            raise ImageInUseError(
                f"a container of another user uses image {name}",
                evidence=f"{image.sif_path} is locked",
                remedy=f"sampan rmi -f {name}    (the container goes on)",
            )
        for known in leaving:
            os.unlink(layout.ref_file(known.reference))
        done = [f"Untagged: {known.reference.familiar}" for known in leaving]
        if is_last:
            delete_image_files(layout, image.digest)
            done.append(f"Deleted: {image.digest}")
    return done


def _is_held(path: str) -> bool:
    """Whether a container is known to use the image; without locks nobody can know."""
    try:
        return is_held(path)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise


def _in_site_store(name: str, image: StoredImage) -> ImageOfSiteError:
    site = os.path.dirname(os.path.dirname(os.path.dirname(image.sif_path)))
    return ImageOfSiteError(
        f"image {name} is in a site store, which is only read",
        evidence=image.sif_path,
        remedy=f"who may write there: SAMPAN_STORE={site} sampan rmi {name}",
    )


def delete_image_files(layout: StoreLayout, digest: str) -> int:
    """Delete an image's files, record first; return the bytes freed.

    Raises:
        OSError: the store cannot be written.
    """
    freed = 0
    for suffix in IMAGE_SUFFIXES:
        path = layout.image_file(digest, suffix)
        with contextlib.suppress(FileNotFoundError):
            size = os.lstat(path).st_blocks * 512
            os.unlink(path)
            freed += size
    return freed
