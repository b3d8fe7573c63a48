"""What another store exported into this one (``sampan store import``).

Packs are taken as they come and held against the list's checksums and against their diffIDs, in
threads behind the reader; then each image is linked from them. A pack that is complete stays
whatever happens next, so an import that was cut goes on where it was.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sampan.images.catalogue import ImageRecord, set_name, write_record
from sampan.images.export_format import (
    MOST_LIST_BYTES,
    CarriedFile,
    CarriedImage,
    ExportError,
    image_path,
    pack_path,
)
from sampan.images.export_reader import ExportFiles, export_was_cut, open_export
from sampan.images.facts_json import load_facts
from sampan.images.importer import ImportOptions, open_for_import, store_image
from sampan.images.layer_packing import Tell
from sampan.images.pack_file import load_index
from sampan.images.packs import adopt_pack, find_pack
from sampan.images.room import measure_room, require_room
from sampan.images.sif import locate_system_partition
from sampan.images.store import has_image
from sampan.images.store_access import image_lock, store_errors
from sampan.images.store_layout import StoreLayout
from sampan.images.verifying import verify_pack_files
from sampan.kernel.atomic import temporary_beside, write_atomic
from sampan.model.image import parse_platform
from sampan.model.reference import ImageNameError, Reference, parse_reference
from sampan.model.source import SourceError, SourceImage
from sampan.model.transfer import Hear, TransferEvent

_PIECE = 1 << 20
_FILES_OF_IMAGE = 5
_SIF_MODE = 0o755


class _CarriedLayer(NamedTuple):
    """A layer whose pack has been taken in already."""

    label: str
    digest: str
    diff_id: str
    size: int = 0
    is_portable: bool = True

    def open(self) -> BinaryIO:
        """Never needed, unless the pack is pruned at this very moment.

        Raises:
            SourceError: always.
        """
        raise SourceError(
            f"layer {self.label} is gone again", evidence="its pack was removed", remedy="try again"
        )


def import_export(
    source: str,
    *,
    store: StoreLayout,
    hear: Hear = lambda _: None,
    tell: Tell = lambda _: None,
) -> list[tuple[Reference, str]]:
    """Take in an export: only what is not here is read, and all names are given.

    Args:
        source: the directory or file that ``export`` wrote; ``-`` is standard input.
        store: created when it does not exist.
        hear: of the files, called by this thread.
        tell: of the links, likewise.

    Returns:
        The names, each with the id of its image.

    Raises:
        ExportError: it cannot be read, is damaged, or lacks a layer that is not here either.
        PackError: a pack is not what its diffID says.
        StoreError: the store cannot be written, or has no room.
    """
    with open_for_import(store), open_export(source) as files:
        return _TakingIn(store, source, files, hear, tell).run()


class _TakingIn:
    """One import at work."""

    def __init__(
        self, store: StoreLayout, source: str, files: ExportFiles, hear: Hear, tell: Tell
    ) -> None:
        self._store = store
        self._source = source
        self._files = files
        self._hear = hear
        self._tell = tell
        self._documents: dict[str, bytes] = {}
        self._sifs: dict[str, Path] = {}
        self._begun: list[Path] = []

    def run(self) -> list[tuple[Reference, str]]:
        wanted = self._choose()
        self._require_room(wanted)
        try:
            with store_errors(self._store):
                self._read(wanted)
                return [name for image in self._files.export.images for name in self._finish(image)]
        finally:
            for path in self._begun:
                path.unlink(missing_ok=True)

    def _choose(self) -> set[str]:
        """Paths of the files that are not here, once it is sure that nothing will be missing."""
        carried = {file.path for file in self._files.export.files}
        wanted: set[str] = set()
        for image in self._files.export.images:
            is_here = has_image(self._store, image.digest)
            own = [
                image_path(image.digest, suffix) for suffix in ("config.json", "facts.json", "sif")
            ]
            if image.is_whole:
                wanted |= set() if is_here else {path for path in own if path in carried}
                missing = [] if is_here else [path for path in own if path not in carried]
            else:
                missing = [own[0]] if own[0] not in carried else []
                wanted.add(own[0])
                for layer in () if is_here else image.layers:
                    if find_pack(self._store, image.compression, layer.pack, layer.diff_id):
                        continue
                    names = [
                        pack_path(image.compression, layer.pack, suffix)
                        for suffix in ("pack", "headers", "index")
                    ]
                    missing += [one for one in (names[0], names[2]) if one not in carried]
                    wanted |= {name for name in names if name in carried}
            if missing:
                raise ExportError(
                    "the export lacks what this store has not either",
                    evidence=f"{missing[0]} of image {image.digest[7:19]}",
                    remedy="here: sampan store list > LIST    there: sampan store export --have LIST …",
                )
        return wanted

    def _require_room(self, wanted: set[str]) -> None:
        files = [file for file in self._files.export.files if file.path in wanted]
        packed = sum(file.size for file in files)
        linked = sum(not image.is_whole for image in self._files.export.images)
        require_room(
            self._store,
            measure_room(self._store),
            needed_bytes=packed,
            needed_files=len(files) + linked * _FILES_OF_IMAGE,
        )

    def _read(self, wanted: set[str]) -> None:
        threads = len(os.sched_getaffinity(0))
        with ThreadPoolExecutor(threads) as pool:
            waiting: list[Future[None]] = []
            stem: Path | None = None
            for file in self._files.export.files:
                if file.path not in wanted:
                    self._files.skip(file)
                    self._hear(TransferEvent("present", file.path, file.size, file.size))
                    continue
                if file.path.startswith("images/") and not file.path.endswith(".sif"):
                    self._documents[file.path] = self._take_document(file)
                    continue
                if file.path.endswith(".pack") or stem is None:
                    stem = temporary_beside(Path(self._store.root, file.path).with_name("taken.x"))
                suffix = Path(file.path).suffix
                self._take(file, self._temporary(file, stem, suffix))
                if suffix == ".index":
                    waiting.append(pool.submit(self._adopt, file.path, stem.with_suffix(suffix)))
                    stem = None
                # Two a thread are enough to keep them busy; what is taken in and not yet looked at
                # would be lost by a kill.
                while len(waiting) > 2 * threads:
                    waiting.pop(0).result()
            for future in waiting:
                future.result()

    def _temporary(self, file: CarriedFile, stem: Path, suffix: str) -> Path:
        if suffix == ".sif":
            path = temporary_beside(Path(self._store.root, file.path))
            self._sifs[file.path] = path
        else:
            path = stem.with_suffix(suffix)
        self._begun.append(path)
        return path

    def _take(self, file: CarriedFile, target: Path) -> None:
        digest = hashlib.sha256()
        done = 0
        with contextlib.closing(self._files.open(file)) as source, open(target, "xb") as stream:
            while done < file.size:
                piece = source.read(min(_PIECE, file.size - done))
                if not piece:
                    raise export_was_cut(self._source)
                digest.update(piece)
                stream.write(piece)
                done += len(piece)
                if done % (64 << 20) < len(piece):
                    self._hear(TransferEvent("sending", file.path, done, file.size))
            stream.flush()
            os.fsync(stream.fileno())
        self._check(file, digest.hexdigest())
        self._hear(TransferEvent("sent", file.path, done, file.size))

    def _take_document(self, file: CarriedFile) -> bytes:
        if file.size > MOST_LIST_BYTES:
            raise ExportError(
                f"{self._source} is damaged", evidence=f"{file.path}: {file.size} bytes"
            )
        with contextlib.closing(self._files.open(file)) as source:
            content = source.read(file.size)
        if len(content) < file.size:
            raise export_was_cut(self._source)
        self._check(file, hashlib.sha256(content).hexdigest())
        return content

    def _check(self, file: CarriedFile, found: str) -> None:
        if found != file.sha256:
            raise ExportError(
                f"{self._source} is damaged",
                evidence=f"{file.path}: SHA-256 {found}, the list says {file.sha256}",
                remedy="carry it over again, or export again; what has come whole is kept",
            )

    def _adopt(self, path: str, index_path: Path) -> None:
        """Look at a pack that was taken in, and let it exist. Executed by a thread."""
        compression, _, name = path.removeprefix("packs/").partition("/sha256/")
        digest = f"sha256:{name.removesuffix('.index')}"
        index = load_index(index_path)
        if (index.compression, index.digest) != (compression, digest):
            raise ExportError(f"{self._source} is damaged", evidence=f"{path} is {index.digest}")
        verify_pack_files(index_path, index)
        adopt_pack(self._store, index_path, index)

    def _finish(self, image: CarriedImage) -> Iterator[tuple[Reference, str]]:
        names = list(image.names)
        if image.is_whole:
            self._adopt_image(image)
        else:
            (first, manifest), *names = names
            config = self._documents[image_path(image.digest, "config.json")]
            if f"sha256:{hashlib.sha256(config).hexdigest()}" != image.digest:
                raise ExportError(
                    f"{self._source} is damaged", evidence=f"the configuration of {image.digest}"
                )
            layers = tuple(
                _CarriedLayer(one.digest[7:19], one.digest, one.diff_id) for one in image.layers
            )
            store_image(
                SourceImage(config, layers, parse_platform(image.platform), manifest),
                _checked_source(image.source),
                first,
                store=self._store,
                options=ImportOptions(compression=image.compression),
                progress=self._tell,
            )
            yield first, image.digest
        for reference, manifest in names:
            if set_name(self._store, reference, image.digest, manifest) is not None:
                yield reference, image.digest

    def _adopt_image(self, image: CarriedImage) -> None:
        """Let an image exist that came as a file, its packs having been pruned over there."""
        store, digest = self._store, image.digest
        if has_image(store, digest):
            return
        config = self._documents[image_path(digest, "config.json")]
        facts = self._documents[image_path(digest, "facts.json")]
        sif = self._sifs[image_path(digest, "sif")]
        if f"sha256:{hashlib.sha256(config).hexdigest()}" != digest:
            raise ExportError(f"{self._source} is damaged", evidence=f"configuration of {digest}")
        load_facts(facts)
        locate_system_partition(sif)
        with image_lock(store, digest):
            if has_image(store, digest):
                return
            os.chmod(sif, _SIF_MODE)
            os.rename(sif, store.image_file(digest, "sif"))
            write_atomic(Path(store.image_file(digest, "config.json")), config)
            write_atomic(Path(store.image_file(digest, "facts.json")), facts)
            write_record(
                store,
                ImageRecord(
                    digest=digest,
                    imported=time.time(),
                    size=os.path.getsize(store.image_file(digest, "sif")),
                    source=_checked_source(image.source),
                    platform=image.platform,
                    compression=image.compression,
                    facts_version=image.facts_version,
                    layers=image.layers,
                ),
            )


def _checked_source(source: str) -> str:
    """Where the image came from: a push believes it of registries, so it must be a name there."""
    if source.startswith("docker://"):
        try:
            return f"docker://{parse_reference(source)}"
        except ImageNameError:
            return "export"
    return source[:1000]
