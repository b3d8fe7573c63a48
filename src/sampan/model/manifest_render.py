"""OCI and docker v2s2 manifests and indexes of our own making (image-spec v1.1, manifest-v2-2). Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.errors import UsageError
from sampan.model.manifest import Descriptor

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPES = {
    "oci": "application/vnd.oci.image.config.v1+json",
    "v2s2": "application/vnd.docker.container.image.v1+json",
}
_LAYER_TYPES = {
    "oci": {
        "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
        "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
        "none": "application/vnd.oci.image.layer.v1.tar",
    },
    "v2s2": {
        "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "none": "application/vnd.docker.image.rootfs.diff.tar",
    },
}


def layer_type(form: str, compression: str) -> str:
    """The media type of a layer.

    Raises:
        UsageError: the form has no such layers.
    """
    found = _LAYER_TYPES[form].get(compression)
    if found is None:
        raise UsageError(
            f"docker's manifests (v2s2) have no {compression} layers",
            remedy="use --compression gzip, or --format oci",
        )
    return found


def describe(media_type: str, content: bytes) -> Descriptor:
    """The descriptor of a document."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Descriptor(media_type, digest, len(content), None, {})


def render_manifest(
    config: bytes, layers: Sequence[Descriptor], form: str = "oci"
) -> tuple[str, bytes]:
    """Media type and bytes of an image's manifest; same input, same bytes."""
    media_type = OCI_MANIFEST if form == "oci" else _DOCKER_MANIFEST
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": render_descriptor(describe(_CONFIG_TYPES[form], config)),
        "layers": [render_descriptor(layer) for layer in layers],
    }
    return media_type, dump_json(document)


def render_index(manifests: Sequence[Mapping[str, Any]]) -> bytes:
    """An index of descriptors, or a layout's index.json."""
    return dump_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)})


def render_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor as JSON has it."""
    found: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        found["annotations"] = dict(descriptor.annotations)
    platform = descriptor.platform
    if platform is not None:
        found["platform"] = {
            "architecture": platform.architecture,
            "os": platform.os,
            **({"variant": platform.variant} if platform.variant else {}),
        }
    return found


def dump_json(document: object) -> bytes:
    """JSON as other tools write it: no spaces, keys in our order."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
