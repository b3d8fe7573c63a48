"""Single files in registries: the manifest of a SIF file, and how to read what it names.

Shape: Apptainer's internal/pkg/client/oras: an OCI manifest with the configuration ``{}`` of type
``application/vnd.sylabs.sif.config.v1+json`` and one layer, titled with the file's name. Singularity before
3.7 wrote another layer type (with a slip of the pen); an index may hold one manifest a platform.
"""

from typing import Any, NamedTuple

from sampan.model.image import Platform
from sampan.model.manifest import (
    Descriptor,
    find_manifest,
    parse_descriptor,
    parse_descriptors,
    verify_document,
)
from sampan.model.manifest_render import OCI_MANIFEST, describe, dump_json, render_descriptor
from sampan.model.reference import Reference
from sampan.model.source import SourceError
from sampan.registry.blob import RemoteLayer
from sampan.registry.client import Origin
from sampan.registry.shared_clients import shared_client

SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
EMPTY_CONFIG = b"{}"
_OLD_SIF_LAYER = "appliciation/vnd.sylabs.sif.layer.tar"
_TITLE = "org.opencontainers.image.title"


class RemoteArtifact(NamedTuple):
    """A file in a registry: the digest of what the reference named, and the blob."""

    digest: str
    blob: RemoteLayer


def find_sif(reference: Reference, origin: Origin, *, wanted: Platform) -> RemoteArtifact:
    """The SIF file that a reference names.

    Args:
        reference: by tag or digest.
        origin: its registry.
        wanted: the platform to choose where there are several.

    Raises:
        RegistryError: the registry cannot be asked, or has no such artifact.
        SourceError: it is something else than a SIF file.
    """
    client = shared_client(origin)
    where = reference.familiar
    top = client.get_manifest(reference)

    def load(descriptor: Descriptor) -> dict[str, Any]:
        if descriptor.digest == top.digest:
            return verify_document(top.content, descriptor)
        content = client.get_document(reference.repository, descriptor, is_blob=False)
        return verify_document(content, descriptor)

    def platform_of(_: Descriptor) -> Platform:
        # Nothing in a SIF's manifest says it.
        return wanted

    chosen = find_manifest([top.descriptor], wanted, where, load=load, platform_of=platform_of)
    document = load(chosen)
    layers = parse_descriptors(document, "layers", where)
    types = {layer.media_type for layer in layers}
    if len(layers) != 1 or not types <= {SIF_LAYER, _OLD_SIF_LAYER}:
        config = parse_descriptor(document.get("config"), where)
        raise SourceError(
            f"{where} is no SIF file",
            evidence=f"{len(layers)} layers of {', '.join(sorted(types)) or 'no type'}; "
            f"its configuration is {config.media_type}",
            remedy=f"a container image? sampan pull {reference._replace(is_artifact=False).familiar}",
        )
    layer = layers[0]
    blob = RemoteLayer(
        layer.digest[7:19], layer.digest, "", layer.size, origin, reference.repository
    )
    return RemoteArtifact(top.digest, blob)


def render_sif_manifest(digest: str, size: int, title: str) -> bytes:
    """The manifest of a SIF file; its type is OCI_MANIFEST."""
    layer = Descriptor(SIF_LAYER, digest, size, None, {_TITLE: title})
    return dump_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": render_descriptor(describe(SIF_CONFIG, EMPTY_CONFIG)),
            "layers": [render_descriptor(layer)],
        }
    )
