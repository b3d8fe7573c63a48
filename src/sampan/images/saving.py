"""Images of the store as one archive that docker, podman and skopeo load (``docker save``).

Same images, names and form, same bytes. Images that share layers have them once.

docker-archive: manifest.json, one configuration an image, layers as plain tars (docker's
image/tarexport). oci-archive: an image layout in a tar (image-layout.md) whose index has one entry a
name, with the whole name in ``org.opencontainers.image.ref.name`` as podman reads it and in
containerd's ``io.containerd.image.name``.
"""

import contextlib
import hashlib
import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from sampan.errors import UsageError
from sampan.images.archive_writer import ArchiveWriter
from sampan.images.compressing import check_level, open_compressed
from sampan.images.layout_writer import REF_NAME, LayoutArchive, LayoutError
from sampan.images.outgoing import OutgoingImage, OutgoingLayer, open_outgoing
from sampan.images.store_layout import StoreLayout
from sampan.kernel.atomic import atomic_file, temporary_beside
from sampan.model.manifest import Descriptor
from sampan.model.manifest_render import (
    describe,
    dump_json,
    layer_type,
    render_manifest,
)
from sampan.model.reference import Reference, parse_reference
from sampan.model.transfer import Hear, TransferEvent

FORMATS = ("docker-archive", "oci-archive")
_CONTAINERD_NAME = "io.containerd.image.name"
_PIECE_BYTES = 1 << 20


def save_images(
    names: Sequence[str],
    target: str,
    *,
    store: StoreLayout,
    form: str = "docker-archive",
    compression: str = "",
    hear: Hear = lambda _: None,
) -> None:
    """Write images of the store into an archive.

    Args:
        names: images; an id is saved without a name. One image may have several names here.
        target: the file, replaced when it is there; ``-`` is standard output.
        store: that has them.
        form: one of FORMATS.
        compression: of an OCI archive's layers; empty = gzip.
        hear: what happens.

    Raises:
        ImageNotFoundError, LayerMissingError: an image is not there, or cannot be given out.
        UsageError: the options contradict each other, or the output is a terminal.
        LayoutError: the archive cannot be written.
    """
    if form == "docker-archive" and compression not in ("", "none"):
        raise UsageError(
            "a docker archive holds plain tars",
            remedy="--format oci-archive, or: sampan save ... | zstd",
        )
    images = _collect(store, names)
    with _open_output(target) as stream:
        if form == "docker-archive":
            _write_docker(images, stream, hear)
        else:
            _write_oci(images, stream, compression or "gzip", Path(store.root), target, hear)


def _collect(
    store: StoreLayout, names: Sequence[str]
) -> list[tuple[OutgoingImage, list[Reference]]]:
    """The images, each once, with the names under which they were asked for."""
    found: dict[str, tuple[OutgoingImage, list[Reference]]] = {}
    for name in names:
        outgoing = open_outgoing(store, name)
        _, called = found.setdefault(outgoing.image.digest, (outgoing, []))
        if outgoing.image.name:
            reference = parse_reference(outgoing.image.name)
            if reference.tag and reference not in called:
                called.append(reference._replace(digest=""))
    return list(found.values())


def _write_docker(
    images: Sequence[tuple[OutgoingImage, list[Reference]]], stream: BinaryIO, hear: Hear
) -> None:
    archive = ArchiveWriter(stream)
    written: set[str] = set()
    manifest = []
    for outgoing, names in images:
        layers = []
        for layer in outgoing.layers:
            path = f"{layer.packed.diff_id[7:]}.tar"
            layers.append(path)
            label = layer.packed.diff_id[7:19]
            if path in written:
                hear(TransferEvent("present", label))
                continue
            written.add(path)
            size = layer.packed.tar_size()
            with layer.packed.open() as tar:
                archive.add(path, size, cast("BinaryIO", _Told(tar, label, size, hear)))
            hear(TransferEvent("sent", label, size, size))
        config = f"{outgoing.image.digest[7:]}.json"
        archive.add_bytes(config, outgoing.config)
        manifest.append(
            {
                "Config": config,
                "RepoTags": [str(name) for name in names],
                "Layers": layers,
            }
        )
    archive.add_bytes("manifest.json", dump_json(manifest))
    archive.finish()


def _write_oci(
    images: Sequence[tuple[OutgoingImage, list[Reference]]],
    stream: BinaryIO,
    compression: str,
    spool: Path,
    target: str,
    hear: Hear,
) -> None:
    archive = LayoutArchive(stream)
    known: dict[str, Descriptor] = {}
    for outgoing, names in images:
        layers = []
        for layer in outgoing.layers:
            if layer.packed.diff_id in known:
                hear(TransferEvent("present", layer.packed.diff_id[7:19]))
            else:
                known[layer.packed.diff_id] = _add_layer(
                    archive, layer, compression, _spool_place(target, spool), hear
                )
            layers.append(known[layer.packed.diff_id])
        media_type, content = render_manifest(outgoing.config, layers)
        config = describe("", outgoing.config)
        archive.add_blob(config, io.BytesIO(outgoing.config))
        top = describe(media_type, content)._replace(platform=outgoing.platform)
        archive.add_blob(top, io.BytesIO(content))
        for name in names:
            archive.name(top, {_CONTAINERD_NAME: str(name), REF_NAME: str(name)})
        if not names:
            archive.name(top, {})
    archive.finish()


def _add_layer(
    archive: LayoutArchive, layer: OutgoingLayer, compression: str, spool: Path, hear: Hear
) -> Descriptor:
    """Put a layer into the archive, which wants to know digest and size before its first byte."""
    label = layer.packed.diff_id[7:19]
    media_type = layer_type("oci", compression)
    if compression == "none":
        size = layer.packed.tar_size()
        plain = Descriptor(media_type, layer.packed.diff_id, size, None, {})
        with layer.packed.open() as tar:
            archive.add_blob(plain, _Told(tar, label, size, hear))
        hear(TransferEvent("sent", label, size, size))
        return plain
    path = temporary_beside(spool / "layer")
    try:
        with open(path, "x+b") as file:
            digest = hashlib.sha256()
            size = 0
            level = check_level(compression, None)
            with open_compressed(layer.packed.open(), compression, level) as blob:
                while piece := blob.read(_PIECE_BYTES):
                    digest.update(piece)
                    size += len(piece)
                    file.write(piece)
                    hear(TransferEvent("sending", label, size))
            descriptor = Descriptor(media_type, f"sha256:{digest.hexdigest()}", size, None, {})
            file.seek(0)
            archive.add_blob(descriptor, file)
    finally:
        path.unlink(missing_ok=True)
    hear(TransferEvent("sent", label, size, size))
    return descriptor


def _spool_place(target: str, store: Path) -> Path:
    """Where a compressed layer lies for a moment: beside the archive, which needs the room anyway."""
    return store / "packs" / "zstd" / "sha256" if target == "-" else Path(target).parent


@contextlib.contextmanager
def _open_output(target: str) -> Iterator[BinaryIO]:
    try:
        if target == "-":
            if sys.stdout.isatty():
                raise UsageError(
                    "an archive is nothing for a terminal", remedy="sampan save -o FILE NAME"
                )
            yield sys.stdout.buffer
        elif os.path.lexists(target) and not stat.S_ISREG(os.stat(target).st_mode):
            # A FIFO or device stays what it is.
            with open(target, "wb") as stream:
                yield stream
        else:
            with atomic_file(Path(target)) as stream:
                yield stream
    except OSError as error:
        if error.errno is None:
            raise
        raise LayoutError(
            f"cannot write {target}",
            evidence=f"{error.filename or target}: {error.strerror}",
            remedy="check the path, and the room on its disk",
        ) from error


class _Told:
    """A stream whose reader is heard of."""

    def __init__(self, stream: BinaryIO, label: str, size: int, hear: Hear) -> None:
        self._stream = stream
        self._label = label
        self._size = size
        self._hear = hear
        self._done = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._done += len(piece)
        self._hear(TransferEvent("sending", self._label, self._done, self._size))
        return piece
