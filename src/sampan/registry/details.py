"""An image of a registry looked at without being fetched: platforms, sizes, configuration, signatures."""

from typing import Any, NamedTuple

from sampan.model.image import ImageConfig, Platform, parse_image_config
from sampan.model.manifest import (
    INDEX_TYPES,
    Descriptor,
    find_manifest,
    is_attestation,
    parse_index,
    parse_manifest,
    verify_document,
)
from sampan.model.reference import DEFAULT_REGISTRY, Reference
from sampan.registry.client import RegistryClient
from sampan.registry.signatures import Signature, find_signatures

_MOST_PLATFORMS = 32


class PlatformImage(NamedTuple):
    """One image of a reference: its platform, manifest digest, compressed bytes, number of layers.

    The numbers are 0 where the registry was not asked for them.
    """

    platform: Platform
    digest: str
    size: int
    layers: int


class RemoteImageDetails(NamedTuple):
    """What a registry tells of a reference.

    Attributes:
        digest: of what the reference names, the index's if it is one.
        images: of all platforms.
        chosen: the digest of the one that ``config`` belongs to.
        signatures: claims, not verified.
    """

    digest: str
    media_type: str
    images: tuple[PlatformImage, ...]
    chosen: str
    config: ImageConfig
    signatures: tuple[Signature, ...]


def read_remote_details(
    client: RegistryClient, reference: Reference, wanted: Platform
) -> RemoteImageDetails:
    """Look at manifests and one configuration.

    Docker Hub counts every manifest that is asked for: there only the chosen image is looked at.

    Args:
        client: of the registry.
        reference: by tag or digest.
        wanted: whose configuration is read.

    Raises:
        RegistryError: the registry cannot be asked, or has no such image.
        SourceError: no image for the platform, or malformed documents.
    """
    repository = reference.repository
    top = client.get_manifest(reference)
    known: dict[str, bytes] = {top.digest: top.content}

    def fetch(descriptor: Descriptor, *, is_blob: bool = False) -> dict[str, Any]:
        if descriptor.digest not in known:
            known[descriptor.digest] = client.get_document(repository, descriptor, is_blob=is_blob)
        return verify_document(known[descriptor.digest], descriptor)

    def config_of(descriptor: Descriptor) -> ImageConfig:
        manifest = parse_manifest(fetch(descriptor), descriptor.digest)
        return parse_image_config(fetch(manifest.config, is_blob=True))

    def platform_of(descriptor: Descriptor) -> Platform:
        return descriptor.platform or config_of(descriptor).platform

    entries = [top.descriptor]
    if top.media_type in INDEX_TYPES:
        index = parse_index(fetch(top.descriptor), top.digest)
        entries = [entry for entry in index if not is_attestation(entry)]
    chosen = find_manifest(entries, wanted, reference.familiar, load=fetch, platform_of=platform_of)
    images = []
    # Of an index inside the index only the chosen image is looked at.
    shown = [entry for entry in entries if entry.media_type not in INDEX_TYPES]
    is_counted = reference.registry == DEFAULT_REGISTRY
    for entry in shown[:_MOST_PLATFORMS] or [chosen]:
        if is_counted and entry.digest != chosen.digest and entry.platform is not None:
            images.append(PlatformImage(entry.platform, entry.digest, 0, 0))
            continue
        layers = parse_manifest(fetch(entry), entry.digest).layers
        size = sum(layer.size for layer in layers)
        images.append(PlatformImage(platform_of(entry), entry.digest, size, len(layers)))
    config = config_of(chosen)
    digests = tuple(dict.fromkeys((top.digest, chosen.digest)))
    signatures = find_signatures(client, repository, digests)
    return RemoteImageDetails(
        top.digest, top.media_type, tuple(images), chosen.digest, config, tuple(signatures)
    )
