"""What ``sampan store export`` writes and ``import`` reads: a list, then files of a store.

A directory with ``sampan-store.json`` and the files below it, or a tar of the same with the list
first and the files in its order. Packs travel as they are, an image as its configuration: where its
packs are, linking makes the same file again. Only an image whose packs were pruned travels whole.

The list is JSON::

    {"format": "sampan-store-export", "version": 1,
     "images": [{"digest", "names": [[name, manifest digest], …], "source", "compression",
                 "platform", "facts_version", "whole": false,
                 "layers": [{"digest", "pack", "diff_id"}, …]}, …],
     "files": [{"path", "size", "sha256"}, …]}
"""

import json
import tarfile
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.images.catalogue import RecordedLayer
from sampan.images.store_layout import COMPRESSIONS
from sampan.model.reference import ImageNameError, Reference, is_hex, parse_reference

LIST_NAME = "sampan-store.json"
MOST_LIST_BYTES = 64 << 20
TAR_BLOCK = 512

CARRIED_PACK_SUFFIXES = ("pack", "headers", "index")
WHOLE_SUFFIXES = ("config.json", "facts.json", "sif")

_FORMAT = "sampan-store-export"
_VERSION = 1
_DIGEST = "sha256:"


class ExportError(SampanError):
    """An export cannot be read, is incomplete, or is not what it claims to be."""

    id = "store-export"


class CarriedFile(NamedTuple):
    """A file of the export: path below its root and the store's, bytes, hexadecimal SHA-256."""

    path: str
    size: int
    sha256: str


class CarriedImage(NamedTuple):
    """An image of the export.

    Attributes:
        names: each with the digest of the manifest it had, or "".
        is_whole: the SIF travels, since a pack of it does not.
    """

    digest: str
    names: tuple[tuple[Reference, str], ...]
    source: str
    compression: str
    platform: str
    facts_version: int
    is_whole: bool
    layers: tuple[RecordedLayer, ...]


class ExportList(NamedTuple):
    """The list of an export."""

    images: tuple[CarriedImage, ...]
    files: tuple[CarriedFile, ...]


def dump_list(export: ExportList) -> bytes:
    """The list as JSON; the same export gives the same bytes."""
    images = [
        {
            "digest": image.digest,
            "names": [[str(reference), manifest] for reference, manifest in image.names],
            "source": image.source,
            "compression": image.compression,
            "platform": image.platform,
            "facts_version": image.facts_version,
            "whole": image.is_whole,
            "layers": [layer._asdict() for layer in image.layers],
        }
        for image in export.images
    ]
    files = [file._asdict() for file in export.files]
    document = {"format": _FORMAT, "version": _VERSION, "images": images, "files": files}
    return json.dumps(document, indent=1).encode() + b"\n"


def load_list(content: bytes, place: str) -> ExportList:
    """A list, every member of it checked: paths lead nowhere but to files of a store.

    Args:
        content: JSON.
        place: what messages call the export.

    Raises:
        ExportError: it is none, or of a later version.
    """
    try:
        document = json.loads(content)
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']!r}")
        if document["version"] != _VERSION:
            raise ExportError(
                f"{place} was written by a later version of Sampan",
                evidence=f"version {document['version']}, this one reads {_VERSION}",
                remedy="import it with a Sampan as new as the one that exported",
            )
        images = tuple(map(_load_image, document["images"]))
        files = tuple(
            CarriedFile(_checked_path(one["path"]), _size(one["size"]), _hex(one["sha256"]))
            for one in document["files"]
        )
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        ImageNameError,
    ) as error:
        raise ExportError(
            f"{place} is no export of a store",
            evidence=f"its list: {error}" if str(error) else "its list is nested too deeply",
            remedy="sampan store export writes one; archives of docker and podman: sampan load",
        ) from error
    if len({file.path for file in files}) != len(files):
        raise ExportError(f"{place} names a file twice", remedy="export again")
    return ExportList(images, files)


def image_path(digest: str, suffix: str) -> str:
    """Path of an image's file in an export."""
    return f"images/sha256/{digest.removeprefix(_DIGEST)}.{suffix}"


def pack_path(compression: str, digest: str, suffix: str) -> str:
    """Path of a pack's file in an export."""
    return f"packs/{compression}/sha256/{digest.removeprefix(_DIGEST)}.{suffix}"


def tar_header(name: str, size: int) -> bytes:
    """One block: a member that looks the same whoever writes it."""
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member.tobuf(tarfile.GNU_FORMAT)


def tar_padding(size: int) -> int:
    """Bytes after a member."""
    return -size % TAR_BLOCK


def _load_image(one: dict[str, Any]) -> CarriedImage:
    if one["compression"] not in COMPRESSIONS:
        raise ValueError(f"compression {one['compression']!r}")
    return CarriedImage(
        digest=_digest(one["digest"]),
        names=tuple(
            (parse_reference(str(name)), _digest(manifest) if manifest else "")
            for name, manifest in one["names"]
        ),
        source=str(one["source"]),
        compression=one["compression"],
        platform=str(one["platform"]),
        facts_version=int(one["facts_version"]),
        is_whole=bool(one["whole"]),
        layers=tuple(
            RecordedLayer(
                _digest(layer["digest"]), _digest(layer["pack"]), _digest(layer["diff_id"])
            )
            for layer in one["layers"]
        ),
    )


def _digest(text: str) -> str:
    return _DIGEST + _hex(text.removeprefix(_DIGEST))


def _hex(digits: str) -> str:
    if len(digits) != 64 or not is_hex(digits):
        raise ValueError(f"no SHA-256: {digits[:80]!r}")
    return digits


def _size(size: object) -> int:
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size!r}")
    return size


def _checked_path(path: str) -> str:
    directory, _, name = path.rpartition("/")
    digits, _, suffix = name.partition(".")
    packs = [f"packs/{compression}/sha256" for compression in COMPRESSIONS]
    is_known = (directory in packs and suffix in CARRIED_PACK_SUFFIXES) or (
        directory == "images/sha256" and suffix in WHOLE_SUFFIXES
    )
    if not is_known:
        raise ValueError(f"path {path[:200]!r}")
    _hex(digits)
    return path
