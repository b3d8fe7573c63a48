"""OCI and docker v2s2 documents: descriptors, indexes, manifests, choice of a platform. No I/O.

Rules: image-spec v1.1 (descriptor.md, image-index.md, manifest.md) and docker's
manifest-v2-2. Everything here may come from strangers.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sampan.model.image import Platform, match_platform
from sampan.model.reference import is_hex
from sampan.model.source import SourceError

MAXIMUM_DOCUMENT = 16 << 20
"""Bytes of a manifest, index or configuration at the most."""

INDEX_TYPES = frozenset({
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
})  # fmt: skip
MANIFEST_TYPES = frozenset({
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
})  # fmt: skip
CONFIG_TYPES = frozenset({
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
})  # fmt: skip
MAXIMUM_LAYERS = 1000
"""Layers of an image at the most; docker and the kernel's overlayfs end at 128 and 500."""

_DEEPEST_INDEX = 4
_MOST_URLS = 8
_LAYER_PREFIXES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_LAYER_ENDINGS = ("", "+gzip", "+zstd", ".gzip", ".zstd")


class Descriptor(NamedTuple):
    """A reference to a blob: media type, digest, size, and what an index says of its platform.

    Attributes:
        urls: where else a blob is, that of a foreign layer above all (image-spec, descriptor.md).
    """

    media_type: str
    digest: str
    size: int
    platform: Platform | None
    annotations: Mapping[str, str]
    urls: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The tag or name that a layout's index gives it; may be empty."""
        return self.annotations.get("org.opencontainers.image.ref.name", "")


class Manifest(NamedTuple):
    """An image manifest: its configuration and layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def verify_document(content: bytes, descriptor: Descriptor) -> dict[str, Any]:
    """A blob's JSON after its digest and size were compared.

    Raises:
        SourceError: they differ, or it is no JSON object.
    """
    if len(content) != descriptor.size:
        raise _damaged(
            f"blob {descriptor.digest} has the wrong size",
            f"{len(content)} bytes, its descriptor says {descriptor.size}",
        )
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != descriptor.digest:
        raise _damaged(
            f"blob {descriptor.digest} has other content than its digest says", f"it is {found}"
        )
    return parse_object(content, descriptor.digest)


def parse_object(content: bytes, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SourceError: it is none.
    """
    try:
        # A name given twice means one thing to us and another to others: CVE-2014-8179.
        document = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{where} is not JSON", str(error)) from error
    if not isinstance(document, dict):
        raise _damaged(f"{where} is not a JSON object", type(document).__name__)
    return document


def parse_index(document: Mapping[str, Any], where: str) -> list[Descriptor]:
    """The manifests of an index or of a layout's index.json.

    Raises:
        SourceError: a member is malformed, or it is a manifest at the same time.
    """
    if "layers" in document or "config" in document:
        raise _damaged(f"{where} is index and manifest at once", "it has manifests and layers")
    return parse_descriptors(document, "manifests", where)


def parse_descriptors(document: Mapping[str, Any], member: str, where: str) -> list[Descriptor]:
    """The descriptors in a list of a document.

    Raises:
        SourceError: there is no such list, or one is malformed.
    """
    return [parse_descriptor(entry, where) for entry in _list(document, member, where)]


def parse_manifest(document: Mapping[str, Any], where: str) -> Manifest:
    """An image manifest.

    Raises:
        SourceError: a member is malformed, or it is no container image.
    """
    if document.get("schemaVersion") == 1:
        raise SourceError(
            f"{where} is a docker schema 1 manifest",
            evidence="schemaVersion 1, which registries gave up in 2017",
            remedy="pull and push the image once with a current docker",
        )
    if "manifests" in document:
        raise _damaged(f"{where} is manifest and index at once", "it has layers and manifests")
    config = parse_descriptor(document.get("config"), where)
    layers = tuple(parse_descriptor(entry, where) for entry in _list(document, "layers", where))
    if len(layers) > MAXIMUM_LAYERS:
        raise SourceError(
            f"{where} has too many layers",
            evidence=f"{len(layers):,}; more than {MAXIMUM_LAYERS:,} are not read",
            remedy="squash the image: docker build --squash, or a multi-stage build",
        )
    strange = [layer.media_type for layer in layers if not is_layer_type(layer.media_type)]
    if config.media_type not in CONFIG_TYPES or strange:
        found = (strange or [config.media_type])[0]
        raise SourceError(
            f"{where} is not a container image",
            evidence=f"its media type is {found}",
            remedy=f"it is a SIF file: sampan pull oras://{where.removeprefix('oras://')} FILE.sif"
            if ".sif." in found
            else "it may be a chart, a model or an attestation: choose another tag",
        )
    return Manifest(config, layers)


def is_layer_type(media_type: str) -> bool:
    """Whether it is a file system layer that we read (compression is told by the bytes)."""
    return any(
        media_type == prefix + ending for prefix in _LAYER_PREFIXES for ending in _LAYER_ENDINGS
    )


def choose_platform(
    offers: Sequence[tuple[Descriptor, Platform | None]], wanted: Platform, where: str
) -> Descriptor:
    """The descriptor that serves ``wanted`` best; of equals the first, as docker chooses.

    Args:
        offers: with the platform of each, as far as it is known.
        wanted: what the user asked for, or the host's.
        where: for messages.

    Raises:
        SourceError: none fits; lists what there is.
    """
    ranked = sorted(
        (-match_platform(wanted, platform), position)
        for position, (_, platform) in enumerate(offers)
        if platform is not None
    )
    if ranked and ranked[0][0] < 0:
        return offers[ranked[0][1]][0]
    there = sorted({str(platform) for _, platform in offers if platform is not None})
    raise SourceError(
        f"{where} has no image for {wanted}",
        evidence=f"there is: {', '.join(there) or 'no image at all'}",
        remedy=f"--platform {there[0]}" if there else "",
    )


def find_manifest(
    entries: Sequence[Descriptor],
    wanted: Platform,
    where: str,
    *,
    load: Callable[[Descriptor], dict[str, Any]],
    platform_of: Callable[[Descriptor], Platform],
) -> Descriptor:
    """Follow indexes, which may be nested, to the manifest for a platform.

    A manifest that stands alone is taken whatever it is for, as docker does; one that an index lists
    for another platform is not, even where it is the only one.

    Args:
        entries: what there is to choose from.
        wanted: what the user asked for, or the host's.
        where: for messages.
        load: gives the verified document of a descriptor.
        platform_of: gives the platform that the configuration of a manifest names.

    Raises:
        SourceError: none fits, or a document is malformed.
    """
    is_listed = False
    for _ in range(_DEEPEST_INDEX):
        if not any(entry.media_type in INDEX_TYPES for entry in entries):
            if len(entries) == 1 and (not is_listed or entries[0].platform is None):
                # Nothing to choose; whether it fits is said by its configuration.
                return entries[0]
            offers = [(entry, entry.platform or platform_of(entry)) for entry in entries]
            return choose_platform(offers, wanted, where)
        # Equal digests once: a hostile index could multiply itself at each level.
        below: dict[str, Descriptor] = {}
        for entry in entries:
            inner = (
                parse_index(load(entry), entry.digest)
                if entry.media_type in INDEX_TYPES
                else [entry]
            )
            below.update({each.digest: each for each in inner if not is_attestation(each)})
        entries, is_listed = list(below.values()), True
    raise SourceError(f"{where} nests indexes too deeply", evidence=f"over {_DEEPEST_INDEX} levels")


def check_platform(found: Platform, wanted: Platform | None, where: str) -> None:
    """Refuse an image that is not for the platform that the user asked for.

    Raises:
        SourceError: it is for another one.
    """
    if wanted is not None and not match_platform(wanted, found):
        raise SourceError(
            f"{where} has no image for {wanted}",
            evidence=f"there is: {found}",
            remedy=f"--platform {found}",
        )


def platform_warnings(found: Platform, wanted: Platform | None, host: Platform) -> tuple[str, ...]:
    """A word to users who get an image for another machine without having asked for it."""
    if wanted is None and not match_platform(Platform(host.os, host.architecture), found):
        return (f"the image is for {found}, this host is {host}",)
    return ()


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether buildkit put it into the index beside the images (provenance, bill of materials)."""
    return "vnd.docker.reference.type" in descriptor.annotations or (
        descriptor.platform is not None and descriptor.platform.os == "unknown"
    )


def check_layers(diff_ids: Iterable[str], number: int, where: str) -> None:
    """Compare a configuration's diffIDs with a manifest's layers.

    Raises:
        SourceError: the numbers differ, or a diffID is no digest.
    """
    ids = list(diff_ids)
    for diff_id in ids:
        check_digest(diff_id, where)
    if len(ids) != number:
        raise _damaged(
            f"{where}: configuration and layers do not fit together",
            f"{len(ids)} diff_ids, {number} layers",
        )


def check_digest(digest: object, where: str) -> str:
    """A sha256 digest, which is safe as a file name too.

    Raises:
        SourceError: it is something else.
    """
    if not isinstance(digest, str) or not digest.startswith("sha256:"):
        raise _damaged(f"{where} names a blob by a digest we do not read", repr(digest)[:100])
    if len(digest) != 71 or not is_hex(digest[7:]):
        raise _damaged(f"{where} has a malformed digest", repr(digest)[:100])
    return digest


def parse_descriptor(entry: object, where: str) -> Descriptor:
    """A descriptor, whatever it describes.

    Raises:
        SourceError: it is malformed.
    """
    if not isinstance(entry, dict):
        raise _damaged(f"{where} has a malformed descriptor", repr(entry)[:100])
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _damaged(f"{where} has a descriptor without a size", repr(size)[:100])
    platform = entry.get("platform")
    notes = entry.get("annotations")
    urls = entry.get("urls")
    return Descriptor(
        str(entry.get("mediaType") or ""),
        check_digest(entry.get("digest"), where),
        size,
        Platform(
            str(platform.get("os") or "linux"),
            str(platform.get("architecture") or ""),
            str(platform.get("variant") or ""),
        )
        if isinstance(platform, dict)
        else None,
        {str(k): str(v) for k, v in notes.items()} if isinstance(notes, dict) else {},
        tuple(str(url) for url in urls[:_MOST_URLS]) if isinstance(urls, list) else (),
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _list(document: Mapping[str, Any], member: str, where: str) -> list[object]:
    found = document.get(member)
    if not isinstance(found, list):
        raise _damaged(f"{where} has no list of {member}", repr(found)[:100])
    return found


def _damaged(cause: str, evidence: str) -> SourceError:
    return SourceError(cause, evidence=evidence, remedy="copy or export the image again")
