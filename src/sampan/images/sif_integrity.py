"""What a signature of a SIF is about: digests of the header, the descriptors and the data.

The document is sylabs/sif's metadata, version 1 (pkg/integrity/metadata.go). It covers the objects of a
group by their place in the group, not their offsets, so a file may be laid out anew without breaking its
signatures. The header's architecture and dates are not covered. How the document is signed is in
``sif_dsse`` and ``sif_pgp``.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from sampan.images import sif_format as form
from sampan.images.sif import SifFile
from sampan.images.sif_parts import read_pieces

_HASHES = frozenset({"sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256"})
_U32 = struct.Struct("<I")


class MetadataError(Exception):
    """A signed document is malformed, or does not fit the file; the text says why."""


class Metadata(NamedTuple):
    """A signed document.

    Attributes:
        header: digest of the header, ``sha256:<hex>``.
        objects: number in the group, from 0, to the digests of descriptor and data.
    """

    header: str
    objects: dict[int, tuple[str, str]]


def group_objects(sif: SifFile, group: int) -> list[form.SifObject]:
    """The objects of a group, signatures left out, by number."""
    return sorted(
        (
            item
            for item in sif.objects
            if item.group_number == group and item.kind != form.DATA_SIGNATURE
        ),
        key=lambda item: item.identity,
    )


def group_numbers(sif: SifFile) -> list[int]:
    """The groups that have objects other than signatures."""
    return sorted(
        {
            item.group_number
            for item in sif.objects
            if item.group_number and item.kind != form.DATA_SIGNATURE
        }
    )


def render_metadata(sif: SifFile, group: int, items: Sequence[form.SifObject]) -> bytes:
    """The document that a signature of some objects of a group signs.

    Raises:
        OSError: the file cannot be read.
    """
    first = group_objects(sif, group)[0].identity
    objects = [
        {
            "relativeId": item.identity - first,
            "descriptorDigest": _digest("sha256", [_covered(item, first)]),
            "objectDigest": _digest("sha256", read_pieces(sif, item)),
        }
        for item in items
    ]
    document = {
        "version": 1,
        "header": {"digest": _digest("sha256", [_covered_header(sif)])},
        "objects": objects,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def parse_metadata(payload: bytes) -> Metadata:
    """Read a document whose signature is confirmed.

    Raises:
        MetadataError: it is of another form.
    """
    try:
        document: Any = json.loads(payload)
        if document["version"] != 1:
            raise MetadataError(f"its form is version {document['version']}, known is 1")
        objects = {
            int(one["relativeId"]): (str(one["descriptorDigest"]), str(one["objectDigest"]))
            for one in document["objects"]
        }
        if len(objects) != len(document["objects"]):
            raise MetadataError("it names an object twice")
        return Metadata(str(document["header"]["digest"]), objects)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MetadataError("it is no metadata of a SIF") from error


def check_metadata(
    sif: SifFile,
    group: int,
    metadata: Metadata,
    items: Sequence[form.SifObject],
    *,
    whole_group: bool,
) -> None:
    """Hold a file against a signed document.

    Args:
        sif: the file.
        group: that was signed.
        metadata: of ``parse_metadata``.
        items: objects of the group that must be as they were.
        whole_group: whether exactly these objects must have been signed.

    Raises:
        MetadataError: the header, a descriptor or an object is not what was signed.
        OSError: the file cannot be read.
    """
    if not _matches(metadata.header, [_covered_header(sif)]):
        raise MetadataError("the header was changed")
    first = group_objects(sif, group)[0].identity
    if whole_group:
        gone = metadata.objects.keys() - {item.identity - first for item in items}
        if gone:
            raise MetadataError(f"object {min(gone) + first} was signed and is not there")
    for item in items:
        signed = metadata.objects.get(item.identity - first)
        if signed is None:
            raise MetadataError(f"object {item.identity} was not signed")
        descriptor, data = signed
        if not _matches(descriptor, [_covered(item, first)]):
            raise MetadataError(f"the descriptor of object {item.identity} was changed")
        if not _matches(data, read_pieces(sif, item)):
            raise MetadataError(f"object {item.identity} was changed")


def _covered_header(sif: SifFile) -> bytes:
    header = sif.header
    return header.launch + header.magic + header.version + header.identity


def _covered(item: form.SifObject, first: int) -> bytes:
    """The members of a descriptor that a signature covers, with the number relative to the group."""
    raw = item.raw
    return b"".join(
        (
            raw[0:5],  # data type, used
            _U32.pack(item.identity - first),
            raw[13:17],  # link
            raw[25:33],  # length
            raw[41:49],  # created
            raw[57:73],  # uid, gid
            raw[73:],  # name, extra
        )
    )


def _digest(name: str, pieces: "Sequence[bytes] | Any") -> str:
    digest = hashlib.new(name)
    for piece in pieces:
        digest.update(piece)
    return f"{name}:{digest.hexdigest()}"


def _matches(signed: str, pieces: "Sequence[bytes] | Any") -> bool:
    name = signed.partition(":")[0]
    if name not in _HASHES:
        raise MetadataError(f"a digest of kind {name[:20]!r} is not known")
    return _digest(name, pieces) == signed.lower()
