"""Images of the store into a directory or one file for another store (``sampan store export``).

Each layer travels once, and not at all when the other side has it. A file grows under the name
``FILE.partial``: what is there of it from an export that was cut is read, compared and kept.
"""

import contextlib
import hashlib
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sampan.errors import SampanError, UsageError
from sampan.images.catalogue import ImageRecord, find_record, list_all_names, list_records
from sampan.images.documents import DamagedStoreError
from sampan.images.export_format import (
    CARRIED_PACK_SUFFIXES,
    LIST_NAME,
    TAR_BLOCK,
    WHOLE_SUFFIXES,
    CarriedFile,
    CarriedImage,
    ExportError,
    ExportList,
    dump_list,
    image_path,
    pack_path,
    tar_header,
    tar_padding,
)
from sampan.images.pack_file import PackError, load_index
from sampan.images.store import locate_image
from sampan.images.store_layout import COMPRESSIONS, StoreLayout
from sampan.images.verifying import linked_name
from sampan.kernel.atomic import atomic_file, sync_directory, write_atomic
from sampan.model.transfer import Hear, TransferEvent

_PIECE = 1 << 20
_NOTED_BYTES = 64 << 20


class ExportResult(NamedTuple):
    """What an export holds.

    Attributes:
        size: bytes of its files.
        kept: bytes that were there already from an earlier export.
        left_out: layers that the other side has.
    """

    images: int
    layers: int
    size: int
    kept: int
    left_out: int


class _Piece(NamedTuple):
    """A file to travel: where it lies and where it goes."""

    host_path: str
    path: str


def list_contents(layout: StoreLayout) -> Iterator[str]:
    """Lines for the other side's ``export --have``: each layer by diffID, each image by id."""
    for record in list_records(layout):
        yield f"image {record.digest}"
    for compression in COMPRESSIONS:
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(layout.diffs(compression))):
                if not name.startswith("."):
                    yield f"layer-{compression} sha256:{name}"


def export_images(
    layout: StoreLayout,
    names: Sequence[str],
    target: str,
    *,
    have: Collection[str] = (),
    hear: Hear = lambda _: None,
) -> ExportResult:
    """Write images, with all their names, into a directory, a file, or standard output.

    Args:
        layout: a store; the caller keeps prunes away.
        names: or ids of images that have names; none = all named images.
        target: a directory that exists or ends with ``/``, a file, ``-``.
        have: lines of ``list_contents`` of the other side.
        hear: called now and then, by this thread.

    Raises:
        ImageNotFoundError: there is no such image.
        UsageError: an image has no name, or there is none to export.
        DamagedStoreError, PackError: an image or a pack is damaged.
        ExportError: the target cannot be written.
        OSError: the store cannot be read, or nobody reads standard output.
    """
    images, pieces, left_out = _plan(layout, names, frozenset(have))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        files = tuple(pool.map(_describe, pieces))
    export = ExportList(tuple(images), files)
    hosts = [piece.host_path for piece in pieces]
    size = sum(file.size for file in files)
    with _target_errors(target, size):
        if target == "-":
            sys.stdout.buffer.write(_front(export))
            _write_tar(sys.stdout.buffer, export, hosts, 0, hear)
            sys.stdout.buffer.flush()
            kept = 0
        elif target.endswith("/") or os.path.isdir(target):
            kept = _write_directory(Path(target), export, hosts, hear)
        else:
            kept = _write_file(Path(target), export, hosts, hear)
    layers = sum(file.path.endswith(".index") for file in files)
    return ExportResult(len(images), layers, size, kept, left_out)


def _plan(
    layout: StoreLayout, names: Sequence[str], have: frozenset[str]
) -> tuple[list[CarriedImage], list[_Piece], int]:
    called = list_all_names(layout)
    digests = (
        [locate_image(name, store=layout).digest for name in names]
        if names
        else [name.image for name in called]
    )
    images, pieces, left_out = [], {}, set()
    for digest in sorted(set(digests)):
        theirs = {str(n.reference): (n.reference, n.manifest_digest) for n in called if n.image == digest}  # fmt: skip
        if not theirs:
            raise UsageError(
                f"image {digest[7:19]} has no name",
                evidence="the other side would not know what to call it",
                remedy=f"sampan tag {digest[7:19]} NAME",
            )
        record = find_record(layout, digest)
        if record is None:
            raise DamagedStoreError(
                f"image {digest[7:19]} has no record", remedy="sampan store repair"
            )
        packs, is_whole = _pieces_of(layout, record)
        for key, pack_pieces in packs.items():
            if f"layer-{record.compression} {key}" in have:
                left_out.add(key)
                continue
            pieces.update({piece.path: piece for piece in pack_pieces})
        suffixes = (
            WHOLE_SUFFIXES if is_whole and f"image {digest}" not in have else ("config.json",)
        )
        for suffix in suffixes:
            path = image_path(digest, suffix)
            home = layout.image_home(digest)
            pieces[path] = _Piece(home.image_file(digest, suffix), path)
        # The first name is the one to be linked with: then the other side gets the same bytes.
        linked = linked_name(layout.image_home(digest).image_file(digest, "sif"))
        order = sorted(theirs, key=lambda name: (name != linked, name))
        images.append(
            CarriedImage(
                digest, tuple(theirs[name] for name in order), record.source,
                record.compression, record.platform, record.facts_version, is_whole, record.layers,
            )
        )  # fmt: skip
    if not images:
        raise UsageError("there is no image to export", remedy="sampan images lists what is there")
    # Packs first: when the configuration of an image arrives, all that it needs is there.
    ordered = sorted(pieces.values(), key=lambda piece: piece.path.startswith("images/"))
    return images, ordered, len(left_out)


def _pieces_of(layout: StoreLayout, record: ImageRecord) -> tuple[dict[str, list[_Piece]], bool]:
    """DiffID -> files of its pack; nothing, and True, when a pack is gone."""
    packs = {}
    for layer in record.layers:
        home = layout.pack_home(record.compression, layer.pack)
        paths = {
            s: home.pack_file(record.compression, layer.pack, s) for s in CARRIED_PACK_SUFFIXES
        }
        if not (os.path.exists(paths["index"]) and os.path.exists(paths["pack"])):
            return {}, True
        packs[layer.diff_id] = [
            _Piece(path, pack_path(record.compression, layer.pack, suffix))
            for suffix, path in paths.items()
            if os.path.exists(path)
        ]
    return packs, False


def _describe(piece: _Piece) -> CarriedFile:
    if piece.path.endswith(".index"):
        # A pack that cannot be used over there is found here, where it can be replaced.
        index = load_index(Path(piece.host_path))
        size = os.path.getsize(piece.host_path.removesuffix("index") + "pack")
        if index.data_size != size:
            raise PackError(
                "a pack in the store is damaged",
                evidence=f"{piece.host_path}: its data have {size} bytes, not {index.data_size}",
                remedy="sampan store repair",
            )
    with open(piece.host_path, "rb", buffering=0) as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return CarriedFile(piece.path, stream.tell(), digest.hexdigest())


@contextlib.contextmanager
def _target_errors(target: str, size: int) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        room = ""
        with contextlib.suppress(OSError):
            state = os.statvfs(target if os.path.isdir(target) else os.path.dirname(target) or ".")
            room = f"; the export has {size:,} bytes, {state.f_bavail * state.f_frsize:,} are free there"
        raise ExportError(
            f"cannot write the export {target}",
            evidence=f"{error.filename or target}: {error.strerror}{room}",
            remedy="what is there of it is kept: type the same again when there is room",
        ) from error


def _write_directory(root: Path, export: ExportList, hosts: Sequence[str], hear: Hear) -> int:
    kept = 0
    for file, host_path in zip(export.files, hosts, strict=True):
        target = root / file.path
        if _is_same(target, file):
            kept += file.size
            hear(TransferEvent("present", file.path, file.size, file.size))
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as stream:
            _copy(file, host_path, stream, hear)
    root.mkdir(parents=True, exist_ok=True)
    write_atomic(root / LIST_NAME, dump_list(export))
    return kept


def _is_same(path: Path, file: CarriedFile) -> bool:
    try:
        with open(path, "rb", buffering=0) as stream:
            if os.fstat(stream.fileno()).st_size != file.size:
                return False
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def _write_file(target: Path, export: ExportList, hosts: Sequence[str], hear: Hear) -> int:
    partial = target.with_name(f"{target.name}.partial")
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "r+b", buffering=_PIECE) as stream:
        done, kept = _find_kept(stream, export)
        _write_tar(stream, export, hosts, done, hear)
        stream.flush()
        stream.truncate()
        os.fsync(stream.fileno())
    os.rename(partial, target)
    sync_directory(target.absolute().parent)
    return kept


def _front(export: ExportList) -> bytes:
    document = dump_list(export)
    return tar_header(LIST_NAME, len(document)) + document + bytes(tar_padding(len(document)))


def _find_kept(stream: BinaryIO, export: ExportList) -> tuple[int, int]:
    """How many files of this very export are there already, and their bytes.

    The stream is left after them, at the least after the list.
    """
    front = _front(export)
    if stream.read(len(front)) != front:
        stream.seek(0)
        stream.write(front)
        return 0, 0
    kept = 0
    for number, file in enumerate(export.files):
        at = stream.tell()
        padding = tar_padding(file.size)
        is_whole = stream.read(TAR_BLOCK) == tar_header(file.path, file.size)
        is_whole = is_whole and _hash_of(stream, file.size) == file.sha256
        if not is_whole or len(stream.read(padding)) < padding:
            stream.seek(at)
            return number, kept
        kept += file.size
    return len(export.files), kept


def _hash_of(stream: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size and (piece := stream.read(min(size, _PIECE))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def _write_tar(
    stream: BinaryIO, export: ExportList, hosts: Sequence[str], done: int, hear: Hear
) -> None:
    """Write what follows the list and the first ``done`` files."""
    for file, host_path in list(zip(export.files, hosts, strict=True))[done:]:
        stream.write(tar_header(file.path, file.size))
        _copy(file, host_path, stream, hear)
        stream.write(bytes(tar_padding(file.size)))
    stream.write(bytes(2 * TAR_BLOCK))


def _copy(file: CarriedFile, host_path: str, stream: BinaryIO, hear: Hear) -> None:
    done = 0
    with open(host_path, "rb", buffering=0) as source:
        while piece := source.read(_PIECE):
            stream.write(piece)
            done += len(piece)
            if done % _NOTED_BYTES < len(piece):
                hear(TransferEvent("sending", file.path, done, file.size))
    if done != file.size:
        raise _changed(host_path)
    hear(TransferEvent("sent", file.path, done, file.size))


def _changed(path: str) -> SampanError:
    return DamagedStoreError(
        "a file changed while it was exported", evidence=path, remedy="try again"
    )
