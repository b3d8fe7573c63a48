"""Whether the store's files are what they should be: one pack, one image at a time.

``examine_pack`` and ``examine_image`` are what worker processes execute. They change nothing but a
temporary file: an image is held against a second link of its packs, which must give the same bytes.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.images.catalogue import ImageRecord, find_record
from sampan.images.documents import DamagedStoreError, read_document
from sampan.images.facts_json import dump_facts, load_facts
from sampan.images.layer_tar import LayerTar
from sampan.images.link import link_image
from sampan.images.pack_file import PackData, load_index
from sampan.images.sif import locate_system_partition, open_sif
from sampan.images.singularity import definition
from sampan.images.store_layout import StoreLayout
from sampan.kernel.atomic import temporary_beside
from sampan.model.facts import FACTS_VERSION, ImageFacts
from sampan.model.layer import PackIndex

_PIECE = 1 << 20
_FROM = b"from: "


class ExamineTask(NamedTuple):
    """A pack (with its compression) or an image (compression empty) to be looked at.

    Attributes:
        is_quick: structure only, no contents.
    """

    layout: StoreLayout
    digest: str
    compression: str
    is_quick: bool


class Verdict(NamedTuple):
    """What became of it.

    Attributes:
        problem: what is wrong, with the file; empty when nothing is.
        remark: what could not be looked at, and why; empty when all was.
        diff_id: of a pack; empty when its index cannot be read.
    """

    problem: str
    remark: str = ""
    diff_id: str = ""


def examine(task: ExamineTask, report: Callable[[int], None]) -> Verdict:
    """Look at a pack or an image; what is wrong is said, not raised.

    Args:
        task: see there.
        report: hears how many bytes of the store's files were read.
    """
    look = examine_pack if task.compression else examine_image
    try:
        return look(task, report)
    except SampanError as error:
        return Verdict(f"{error.cause}: {error.evidence}")
    except OSError as error:
        return Verdict(f"{error.filename}: {error.strerror}")
    except (ValueError, KeyError, IndexError, TypeError, MemoryError) as error:
        # A file whose checksum fits and whose content makes no sense: not written by us.
        return Verdict(f"it makes no sense: {type(error).__name__}: {error}")


def examine_pack(task: ExamineTask, report: Callable[[int], None]) -> Verdict:
    """Index and data fit each other; and the pack gives back the layer that its diffID names.

    Raises:
        PackError: it is damaged.
        OSError: a file cannot be read.
    """
    path = Path(task.layout.pack_file(task.compression, task.digest, "index"))
    index = load_index(path)
    data = path.with_suffix(".pack")
    size = data.stat().st_size
    if index.digest != task.digest or index.compression != task.compression:
        return Verdict(f"{path}: it is the index of {index.compression} pack {index.digest}")
    if size != index.data_size:
        return Verdict(f"{data}: it has {size} bytes, its index says {index.data_size}")
    if not task.is_quick:
        verify_pack_files(path, index)
        report(size)
    has_headers = path.with_suffix(".headers").exists()
    remark = "" if has_headers else "it has no tar headers, so it cannot be pushed"
    return Verdict("", remark, index.diff_id)


def verify_pack_files(index_path: Path, index: PackIndex) -> None:
    """Read a whole pack: it gives back the tar of its diffID.

    Of a pack without tar headers, which older versions made, every block is decompressed: damage is
    found, but not another layer's content.

    Args:
        index_path: data and headers lie beside it.
        index: as it was read.

    Raises:
        PackError: it is damaged.
        OSError: a file cannot be read.
    """
    if index_path.with_suffix(".headers").exists():
        with contextlib.closing(LayerTar(index_path)) as tar:
            buffer = memoryview(bytearray(_PIECE))
            while tar.readinto(buffer):
                pass
        return
    with PackData(index, index_path.with_suffix(".pack")) as contents:
        for content in index.contents:
            for _ in contents.iterate_content(content, 0, content.size):
                pass


def examine_image(task: ExamineTask, report: Callable[[int], None]) -> Verdict:
    """Record, configuration, facts and SIF fit; and the packs give the same SIF once more.

    Raises:
        SampanError: it is damaged.
        OSError: a file cannot be read.
    """
    layout = task.layout
    record = find_record(layout, task.digest)
    if record is None or record.digest != task.digest:
        path = layout.image_file(task.digest, "record.json")
        return Verdict(f"{path}: it is no record of this image")
    config_path = layout.image_file(task.digest, "config.json")
    config = read_document(config_path)
    if f"sha256:{hashlib.sha256(config).hexdigest()}" != task.digest:
        return Verdict(f"{config_path}: it is not the configuration that the id names")
    if record.facts_version != FACTS_VERSION:
        return Verdict("", "it was made by another version of Sampan")
    load_facts(read_document(layout.image_file(task.digest, "facts.json")))
    sif = layout.image_file(task.digest, "sif")
    size = os.stat(sif).st_size
    if size != record.size:
        return Verdict(f"{sif}: it has {size} bytes, its record says {record.size}")
    locate_system_partition(sif)
    if task.is_quick:
        return Verdict("")
    return _compare(layout, record, config, report)


def can_relink(layout: StoreLayout, record: ImageRecord) -> bool:
    """Whether all packs of an image are there, good or not."""
    return all(
        os.path.exists(
            layout.pack_home(record.compression, layer.pack).pack_file(
                record.compression, layer.pack, "index"
            )
        )
        for layer in record.layers
    )


def relink(
    layout: StoreLayout, record: ImageRecord, config: bytes, target: Path, name: str = ""
) -> ImageFacts:
    """Make an image's SIF once more, under the name that the one in the store was made with.

    Args:
        layout: the store.
        record: of the image.
        config: its configuration.
        target: the SIF to be made.
        name: taken where the one in the store does not tell.

    Raises:
        SampanError: its packs do not give one.
        OSError: reading or writing failed.
    """
    packs = []
    for layer in record.layers:
        home = layout.pack_home(record.compression, layer.pack)
        index = Path(home.pack_file(record.compression, layer.pack, "index"))
        packs.append((load_index(index), index.with_suffix(".pack")))
    return link_image(
        packs,
        config,
        target,
        digest=record.digest,
        reference=linked_name(layout.image_file(record.digest, "sif")) or name,
        compression=record.compression,
    )


def _compare(
    layout: StoreLayout, record: ImageRecord, config: bytes, report: Callable[[int], None]
) -> Verdict:
    if not can_relink(layout, record):
        return Verdict("", "a pack of it is gone, so its contents could not be compared")
    sif = Path(layout.image_file(record.digest, "sif"))
    state = os.statvfs(layout.images)
    if state.f_bavail * state.f_frsize < record.size or not os.access(layout.images, os.W_OK):
        return Verdict("", "no room for a second link, so its contents could not be compared")
    second = temporary_beside(sif)
    try:
        facts = relink(layout, record, config, second)
        place = _first_difference(sif, second)
    finally:
        second.unlink(missing_ok=True)
    report(record.size)
    if place is not None:
        return Verdict(f"{sif}: from byte {place} on it is not what its packs give")
    facts_path = layout.image_file(record.digest, "facts.json")
    if _members(read_document(facts_path)) != _members(dump_facts(facts)):
        return Verdict(f"{facts_path}: it is not what the image's packs give")
    return Verdict("")


def _members(document: bytes) -> Any:
    try:
        return json.loads(document)
    except ValueError as error:
        raise DamagedStoreError("facts are damaged", evidence=str(error)) from error


def _first_difference(one: Path, other: Path) -> int | None:
    """Offset of the first mebibyte in which two files differ; None when they are equal."""
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        at = 0
        while True:
            piece = first.read(_PIECE)
            if piece != second.read(_PIECE):
                return at
            if not piece:
                return None
            at += len(piece)


def linked_name(sif: str) -> str:
    """The name that a SIF was linked with; empty when it does not say, or is no SIF of ours."""
    with contextlib.suppress(SampanError, OSError, IndexError):
        item = open_sif(sif).objects[0]
        with open(sif, "rb") as stream:
            stream.seek(item.offset)
            text = stream.read(min(item.size, 4096))
        name = text.partition(_FROM)[2].strip().decode()
        if name != "unknown" and definition(name) == text:
            return name
    return ""
