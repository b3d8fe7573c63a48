"""An image from packed layers: one SIF file with one squashfs inside (design.md §4, Link).

Whiteouts are resolved on the indices, live blocks copied, tables written. Nothing is compressed
again but the tables, nothing is unpacked, and the file appears under its name when it is complete.
Same packs, configuration and names give the same bytes.
"""

import contextlib
import gc
import json
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

from sampan.errors import SampanError
from sampan.images.facts import collect_facts
from sampan.images.generated import pack_generated
from sampan.images.overlay import Merger
from sampan.images.pack_file import PackData
from sampan.images.sif import plan_sif, render_sif_front
from sampan.images.singularity import definition, plan_generated_layer
from sampan.images.squashfs.blocks import LayerData, write_fully
from sampan.images.squashfs.writer import write_squashfs
from sampan.images.tree import Node
from sampan.kernel.atomic import atomic_file
from sampan.model.facts import ImageFacts
from sampan.model.image import parse_image_config
from sampan.model.layer import EntryKind, PackIndex


class LinkError(SampanError):
    """The parts do not make an image."""

    id: ClassVar[str] = "link"


def link_image(
    packs: Sequence[tuple[PackIndex, Path]],
    config: bytes,
    target: Path,
    *,
    digest: str,
    reference: str = "",
    compression: str = "zstd",
    warn: Callable[[str], None] = lambda _: None,
) -> ImageFacts:
    """Write the image at ``target`` and say what a run must know of it.

    Args:
        packs: index and data file of each layer, lowest first, all packed with ``compression``.
        config: the OCI image configuration, as it came.
        target: where the SIF file shall appear; replaced when it exists.
        digest: the image's identity, ``sha256:<hex>``.
        reference: the image's name, for its labels.
        compression: ``zstd`` or ``gzip``, of the whole squashfs.
        warn: called with what a user should know of the layers (see ``Merger.warnings``).

    Raises:
        LinkError: the configuration is no JSON object, or a pack has another compression.
        LayerError: the layers contradict each other (see ``merge_layers``).
        SquashfsLimitError: the tree does not fit squashfs.
        PackError: a pack is damaged.
        OSError: reading or writing failed.
    """
    with _collector_paused():
        return _link(packs, config, target, digest, reference, compression, warn)


def _link(
    packs: Sequence[tuple[PackIndex, Path]],
    config: bytes,
    target: Path,
    digest: str,
    reference: str,
    compression: str,
    warn: Callable[[str], None],
) -> ImageFacts:
    document = _parse_config(config)
    image = parse_image_config(document)
    merger = Merger()
    for pack, path in packs:
        if pack.compression != compression:
            raise LinkError(
                f"a layer is packed with {pack.compression}, the image wants {compression}",
                evidence=str(path),
                remedy="import the image again",
            )
        merger.apply(pack)
    for warning in merger.warnings:
        warn(warning)
    generated = plan_generated_layer(merger.root, image, reference=reference)
    generated_pack, generated_data = pack_generated(generated, compression)
    merger.apply(generated_pack)
    indices = [*(pack for pack, _ in packs), generated_pack]
    generated_files = [item.content for item in generated if item.kind == EntryKind.FILE]

    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(PackData(pack, path)) for pack, path in packs]

        def read(node: Node, offset: int, limit: int) -> bytes:
            number = node.table.contents[node.place]
            if node.layer == len(readers):
                return generated_files[number][offset : offset + limit]
            content = indices[node.layer].contents[number]
            return readers[node.layer].read_content(content, offset, limit)

        def size(node: Node) -> int:
            return indices[node.layer].contents[node.table.contents[node.place]].size

        facts = collect_facts(merger.root, image, read, size, digest=digest)

    layout = plan_sif(definition(reference), _oci_config(document))
    identity = blake2b(digest.encode(), digest_size=16).digest()
    with contextlib.ExitStack() as stack:
        layers = [
            LayerData(pack, stack.enter_context(path.open("rb", buffering=0)).fileno())
            for pack, path in packs
        ]
        layers.append(LayerData(generated_pack, generated_data))
        descriptor = stack.enter_context(atomic_file(target, 0o755)).fileno()
        length = write_squashfs(
            merger.root,
            layers,
            compression,
            descriptor,
            layout.partition_at,
        )
        front = render_sif_front(layout, length, image.platform.architecture, identity)
        write_fully(descriptor, front, 0)
    return facts


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection: it would walk the whole tree again and again, a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse_config(config: bytes) -> dict[str, Any]:
    try:
        document = json.loads(config.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise LinkError("the image's configuration is not JSON", evidence=str(error)) from error
    if not isinstance(document, dict):
        raise LinkError(
            "the image's configuration is not a JSON object",
            evidence=f"it is a {type(document).__name__}",
        )
    return document


def _oci_config(document: dict[str, Any]) -> bytes:
    return json.dumps(document.get("config") or {}, separators=(",", ":")).encode()
