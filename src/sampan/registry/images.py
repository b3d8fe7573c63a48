"""An image of a registry as a source: resolved, verified, its layers ready to be read."""

from typing import Any, NamedTuple

from sampan.model.image import ImageConfig, Platform, parse_image_config
from sampan.model.manifest import (
    Descriptor,
    Manifest,
    check_layers,
    check_platform,
    find_manifest,
    parse_manifest,
    platform_warnings,
    verify_document,
)
from sampan.model.reference import Reference
from sampan.model.source import SourceImage
from sampan.registry.blob import RemoteLayer
from sampan.registry.client import Origin
from sampan.registry.shared_clients import shared_client


class RemoteImage(NamedTuple):
    """An image before anything big of it was fetched.

    Attributes:
        source: for the importer.
        config: the configuration, parsed.
    """

    source: SourceImage
    config: ImageConfig

    @property
    def platform(self) -> Platform:
        """Of the image."""
        return self.config.platform

    @property
    def variables(self) -> dict[str, str]:
        """ENV of the image."""
        return dict(line.split("=", 1) for line in self.config.environment if "=" in line)


def find_remote_image(
    reference: Reference, origin: Origin, *, wanted: Platform | None, host: Platform
) -> RemoteImage:
    """Resolve a reference to the image for a platform.

    Args:
        reference: by tag or digest.
        origin: its registry.
        wanted: what the user asked for; None = the host's.
        host: this machine's.

    Raises:
        RegistryError: the registry cannot be asked, or has no such image.
        SourceError: no image for the platform, or documents that are not what they should be.
    """
    client = shared_client(origin)
    repository = reference.repository
    where = reference.familiar
    top = client.get_manifest(reference)
    known: dict[str, bytes] = {top.digest: top.content}

    def fetch(descriptor: Descriptor, *, is_blob: bool = False) -> bytes:
        if descriptor.digest not in known:
            known[descriptor.digest] = client.get_document(repository, descriptor, is_blob=is_blob)
        return known[descriptor.digest]

    def load(descriptor: Descriptor) -> dict[str, Any]:
        return verify_document(fetch(descriptor), descriptor)

    def load_config(manifest: Manifest) -> bytes:
        return fetch(manifest.config, is_blob=True)

    def platform_of(descriptor: Descriptor) -> Platform:
        manifest = parse_manifest(load(descriptor), descriptor.digest)
        document = verify_document(load_config(manifest), manifest.config)
        return parse_image_config(document).platform

    descriptor = find_manifest(
        [top.descriptor], wanted or host, where, load=load, platform_of=platform_of
    )
    manifest = parse_manifest(load(descriptor), where)
    config = load_config(manifest)
    parsed = parse_image_config(verify_document(config, manifest.config))
    check_layers(parsed.diff_ids, len(manifest.layers), where)
    check_platform(parsed.platform, wanted, where)
    layers = tuple(
        RemoteLayer(
            layer.digest[7:19],
            layer.digest,
            diff_id,
            layer.size,
            origin,
            repository,
            layer.urls if "foreign" in layer.media_type or "nondistr" in layer.media_type else (),
        )
        for layer, diff_id in zip(manifest.layers, parsed.diff_ids, strict=True)
    )
    source = SourceImage(
        config,
        layers,
        manifest_digest=top.digest,
        compressed=True,
        warnings=(*client.notes, *platform_warnings(parsed.platform, wanted, host)),
        remote=True,
    )
    return RemoteImage(source, parsed)
