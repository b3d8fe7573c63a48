"""Images from one place to another, bytes and digests unchanged: registries, layouts, their archives.

Nothing is packed, and the store is not touched. A manifest that is there is there with all that it
names (registries see to that, and so do we), so what was copied before costs one question.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sampan.engines.push import DEFAULT_JOBS, open_channel, run_all
from sampan.errors import UsageError
from sampan.images.importer import host_platform
from sampan.images.layout_end import open_layout_end
from sampan.images.layout_writer import open_layout_target
from sampan.model.image import Platform, parse_image_config
from sampan.model.manifest import (
    INDEX_TYPES,
    MAXIMUM_DOCUMENT,
    Descriptor,
    find_manifest,
    parse_descriptor,
    parse_descriptors,
    parse_index,
    parse_object,
    verify_document,
)
from sampan.model.reference import Reference, parse_reference
from sampan.model.source import SourceError
from sampan.model.transfer import Hear, ImageEnd, ImageTarget, TransferEvent
from sampan.registry.image_ends import RegistryEnd, RegistryTarget
from sampan.registry.origins import open_origin
from sampan.registry.settings import DEFAULT_SETTINGS, Settings
from sampan.registry.shared_clients import shared_client

LAYOUT_KINDS = ("oci", "oci-archive")
_DEEPEST_INDEX = 4
_MOST_MANIFESTS = 1000


class CopyOptions(NamedTuple):
    """What to copy.

    Attributes:
        every_platform: an index with all that it names; otherwise one image.
        platform: which one; None = this host's.
        jobs: blobs moved at once.
        settings: patience and trust.
    """

    every_platform: bool = False
    platform: Platform | None = None
    jobs: int = DEFAULT_JOBS
    settings: Settings = DEFAULT_SETTINGS


class CopyResult(NamedTuple):
    """What was copied: the digest there, the bytes that were moved, whether anything was missing."""

    digest: str
    moved_bytes: int
    is_new: bool


def copy_image(
    source: str,
    target: str,
    *,
    environment: Mapping[str, str],
    options: CopyOptions | None = None,
    hear: Hear = lambda _: None,
) -> CopyResult:
    """Copy an image, or an index with all its images.

    Args:
        source: a reference, ``oci:DIRECTORY[:TAG]`` or ``oci-archive:FILE[:TAG]``.
        target: likewise; an archive must not exist.
        environment: variables: credentials, proxies, homes.
        options: defaults when None.
        hear: called by several threads.

    Raises:
        SampanError: whatever stands in the way, with its remedy.
    """
    chosen = options or CopyOptions()
    with (
        open_end(source, environment, chosen.settings) as end,
        open_target(target, environment, chosen.settings) as goal,
    ):
        return copy_between(end, goal, chosen, source, hear)


def copy_between(
    end: ImageEnd, target: ImageTarget, options: CopyOptions, where: str, hear: Hear
) -> CopyResult:
    """Copy what one end names to the other; see ``copy_image``."""
    documents = _Documents(end, where)
    top = end.find_top()
    if not options.every_platform:
        top = documents.choose(top, options.platform)
    if target.has_top(top):
        hear(TransferEvent("present", top.digest[7:19]))
        return CopyResult(top.digest, 0, is_new=False)
    manifests, indexes = _walk(top, documents.load, where)
    moved = 0
    for manifest in manifests:
        if manifest.digest != top.digest and target.has_document(manifest):
            hear(TransferEvent("present", manifest.digest[7:19]))
            continue
        moved += _copy_blobs(documents.load(manifest), end, target, options, where, hear)
        content = documents.content[manifest.digest]
        target.put_document(manifest, content, is_top=manifest.digest == top.digest)
    for index in indexes:
        target.put_document(
            index, documents.content[index.digest], is_top=index.digest == top.digest
        )
    hear(TransferEvent("manifest", top.digest[7:19]))
    return CopyResult(top.digest, moved, is_new=True)


def read_creation(end: ImageEnd, platform: Platform | None, where: str) -> str:
    """When an image was made, as its configuration says (ISO 8601); empty when it does not.

    Raises:
        SampanError: it cannot be read.
    """
    documents = _Documents(end, where)
    config = documents.load_config(documents.choose(end.find_top(), platform))
    created = config.get("created")
    return created if isinstance(created, str) else ""


class _Documents:
    """The documents below what an end names, each read once."""

    def __init__(self, end: ImageEnd, where: str) -> None:
        self._end = end
        self._where = where
        self.content: dict[str, bytes] = {}

    def load(self, descriptor: Descriptor) -> dict[str, Any]:
        if descriptor.digest not in self.content:
            self.content[descriptor.digest] = self._end.read_document(descriptor)
        return parse_object(self.content[descriptor.digest], descriptor.digest)

    def load_config(self, manifest: Descriptor) -> dict[str, Any]:
        config = parse_descriptor(self.load(manifest).get("config"), self._where)
        if config.size > MAXIMUM_DOCUMENT:
            raise SourceError(
                f"{self._where} has a configuration that is too big",
                evidence=f"{config.size:,} bytes",
            )
        with self._end.open_blob(config) as stream:
            return verify_document(stream.read(), config)

    def choose(self, top: Descriptor, platform: Platform | None) -> Descriptor:
        """One manifest; the top itself when it is one."""
        if top.media_type not in INDEX_TYPES:
            return top
        return find_manifest(
            [top],
            platform or host_platform(),
            self._where,
            load=self.load,
            platform_of=lambda entry: parse_image_config(self.load_config(entry)).platform,
        )


@contextlib.contextmanager
def open_end(text: str, environment: Mapping[str, str], settings: Settings) -> Iterator[ImageEnd]:
    """A place to read from.

    Raises:
        SampanError: the text names none, or it cannot be opened.
    """
    kind, path = _split(text)
    if kind:
        with open_layout_end(kind, path) as layout:
            yield layout
        return
    reference = _parse_copied(text)
    with open_origin(reference, environment, settings) as origin:
        yield RegistryEnd(shared_client(origin), origin, reference)


@contextlib.contextmanager
def open_target(
    text: str, environment: Mapping[str, str], settings: Settings
) -> Iterator[ImageTarget]:
    """A place to write to.

    Raises:
        SampanError: the text names none, or it cannot be opened.
    """
    kind, path = _split(text)
    if kind:
        with open_layout_target(kind, path) as layout:
            yield layout
        return
    reference = _parse_copied(text)
    with open_channel(reference, environment, settings) as channel:
        yield RegistryTarget(channel, reference)


def _split(text: str) -> tuple[str, str]:
    kind, colon, path = text.partition(":")
    if colon and kind in LAYOUT_KINDS and not path.startswith("//"):
        return kind, path
    if colon and kind == "docker-archive":
        raise UsageError(
            "copy leaves bytes as they are, and a docker archive holds other ones than a registry",
            evidence=text,
            remedy="sampan load -i FILE, then sampan push; or sampan pull, then sampan save -o FILE",
        )
    return "", text


def _parse_copied(text: str) -> Reference:
    # An artifact is copied like an image: nothing of it is looked at.
    return parse_reference(text)._replace(is_artifact=False)


def _walk(top: Descriptor, load: Any, where: str) -> tuple[list[Descriptor], list[Descriptor]]:
    """All manifests below a document, and the indexes, inner ones first."""
    if top.media_type not in INDEX_TYPES:
        return [top], []
    manifests: dict[str, Descriptor] = {}
    indexes: dict[str, Descriptor] = {}
    level = [top]
    for _ in range(_DEEPEST_INDEX):
        below: list[Descriptor] = []
        for index in level:
            # An inner index must be put before an outer one: the last place counts.
            indexes.pop(index.digest, None)
            indexes[index.digest] = index
            for entry in parse_index(load(index), index.digest):
                if entry.media_type in INDEX_TYPES:
                    below.append(entry)
                else:
                    manifests.setdefault(entry.digest, entry)
        if len(manifests) + len(below) > _MOST_MANIFESTS:
            raise SourceError(
                f"{where} names too many images", evidence=f"more than {_MOST_MANIFESTS}"
            )
        if not below:
            return list(manifests.values()), list(reversed(indexes.values()))
        level = list({entry.digest: entry for entry in below}.values())
    raise SourceError(f"{where} nests indexes too deeply", evidence=f"over {_DEEPEST_INDEX} levels")


def _copy_blobs(
    manifest: Mapping[str, Any],
    end: ImageEnd,
    target: ImageTarget,
    options: CopyOptions,
    where: str,
    hear: Hear,
) -> int:
    """Everything that one manifest names; the bytes moved."""
    blobs: dict[str, Descriptor] = {}
    for descriptor in (
        *parse_descriptors(manifest, "layers", where),
        parse_descriptor(manifest.get("config"), where),
    ):
        is_foreign = "foreign" in descriptor.media_type or "nondistr" in descriptor.media_type
        # Their owner gives them out, not we: the address in the manifest is what is copied.
        if not (is_foreign and descriptor.urls):
            blobs.setdefault(descriptor.digest, descriptor)
    return sum(
        run_all(
            min(options.jobs, target.parallel),
            hear,
            [
                lambda tell, blob=blob: target.put_blob(  # type: ignore[misc]
                    blob, end, tell, blob.digest[7:19]
                )
                for blob in blobs.values()
            ],
        )
    )
