"""From a source to an image in the store: layers packed, one file linked, the name set last.

Every step can be killed: what is complete is used by the next import, what is not is never seen.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sampan.errors import UsageError
from sampan.images.catalogue import ImageRecord, RecordedLayer, find_record, set_name, write_record
from sampan.images.facts_json import dump_facts
from sampan.images.layer_packing import ImportEvent, Tell, pack_layers
from sampan.images.limits import DEFAULT_LIMITS, Limits
from sampan.images.link import link_image
from sampan.images.pack_file import load_index
from sampan.images.packs import mark_used
from sampan.images.partial import sweep_partials
from sampan.images.sources.changes import change_config, detect_architecture, make_config
from sampan.images.store import StoredImage, has_image
from sampan.images.store_access import (
    create_store,
    image_lock,
    import_lock,
    store_errors,
)
from sampan.images.store_layout import COMPRESSIONS, StoreLayout
from sampan.kernel.atomic import sweep_temporaries, write_atomic
from sampan.model.facts import FACTS_VERSION
from sampan.model.image import Platform, parse_image_config, parse_platform
from sampan.model.layer import PackIndex
from sampan.model.reference import Reference, parse_reference
from sampan.model.source import SourceError, SourceImage

_DAY_S = 86400.0
_LINK_ATTEMPTS = 3


class ImportOptions(NamedTuple):
    """How to import.

    Attributes:
        platform: None = the host's, and of the rest what fits best.
        compression: ``zstd``, or ``gzip`` for kernels before 4.14.
        changes: instructions of a Dockerfile that change the configuration.
        processes: at most so many worker processes; None = by cores and layers.
    """

    platform: Platform | None = None
    compression: str = "zstd"
    changes: tuple[str, ...] = ()
    limits: Limits = DEFAULT_LIMITS
    processes: int | None = None


def import_image(
    source: str,
    name: str,
    *,
    store: StoreLayout,
    options: ImportOptions | None = None,
    progress: Tell = lambda _: None,
) -> StoredImage:
    """Make an image of the store from a source; what is there already is not done again.

    Args:
        source: see ``sources.opening.parse_source``.
        name: the image's name; empty = the one that the source carries.
        store: created when it does not exist.
        options: defaults when None.
        progress: called now and then, by this thread.

    Raises:
        SourceError: the source cannot be read or is not what it should be.
        LayerError: a layer is damaged or hostile.
        StoreError: the store cannot be written, or has no room.
        UsageError: an option or the name cannot be used.
    """
    # A pull has no use for these.
    from sampan.images.sources.opening import open_source, parse_source

    chosen = options or ImportOptions()
    if chosen.compression not in COMPRESSIONS:
        raise UsageError(
            f"no compression {chosen.compression!r}", remedy=f"use {' or '.join(COMPRESSIONS)}"
        )
    change_config(b"{}", chosen.changes)
    reference = parse_reference(name) if name else None
    parsed = parse_source(source)
    with (
        open_for_import(store),
        store_errors(store),
        open_source(
            parsed,
            wanted=chosen.platform,
            host=host_platform(),
            spool=Path(store.packs(chosen.compression)),
            store_root=store.root,
        ) as image,
    ):
        for warning in image.warnings:
            progress(ImportEvent("warning", warning))
        reference = reference or _suggested_name(source, image)
        _check_pin(source, reference, image)
        return store_image(
            image, str(parsed), reference, store=store, options=chosen, progress=progress
        )


@contextlib.contextmanager
def open_for_import(store: StoreLayout) -> Iterator[None]:
    """A store that exists, swept of what crashes left, and safe from prunes while this lasts.

    Raises:
        StoreError: it cannot be made or locked.
        UnsafeStoreError: everybody may write into its root.
    """
    create_store(store)
    with import_lock(store):
        _sweep(store)
        yield


def store_image(
    image: SourceImage,
    source: str,
    reference: Reference,
    *,
    store: StoreLayout,
    options: ImportOptions,
    progress: Tell,
) -> StoredImage:
    """Pack, link and name an image that a source has opened.

    Args:
        image: its layers are read, each at most once.
        source: the user's words for where it comes from.
        reference: the name to give.
        store: held by ``open_for_import``.
        options: the platform is the source's business, and not looked at.
        progress: called now and then, by this thread.

    Raises:
        SourceError: a layer cannot be read, or is not the one that the configuration names.
        LayerError: a layer is damaged or hostile.
        StoreError: the store cannot be written, or has no room.
    """
    return _Import(store, options, image, source, reference, progress).run()


def host_platform() -> Platform:
    """This machine's platform."""
    return parse_platform(os.uname().machine)


class _Import:
    """One import at work."""

    def __init__(
        self,
        store: StoreLayout,
        options: ImportOptions,
        image: SourceImage,
        source: str,
        reference: Reference,
        tell: Tell,
    ) -> None:
        self._store = store
        self._options = options
        self._image = image
        self._source = source
        self._reference = reference
        self._tell = tell
        self._packed: list[str] = []

    def run(self) -> StoredImage:
        for _ in range(_LINK_ATTEMPTS):
            digest = self._find_linked() or self._make()
            # A removal of the same image may have come between.
            named = set_name(self._store, self._reference, digest, self._image.manifest_digest)
            if named is not None:
                return named
        raise SourceError(
            f"image {self._reference.familiar} was removed while it was imported",
            evidence=f"{_LINK_ATTEMPTS} times",
            remedy="import it again",
        )

    def _find_linked(self) -> str | None:
        """The image's id if its configuration says it and it is there already."""
        if self._image.config is None:
            return None
        config = change_config(self._image.config, self._options.changes)
        digest = _digest(config)
        if not self._is_linked(digest):
            return None
        for layer in self._image.layers:
            self._tell(ImportEvent("present", layer.label))
        return digest

    def _is_linked(self, digest: str) -> bool:
        record = find_record(self._store, digest)
        return (
            record is not None
            and record.compression == self._options.compression
            and record.facts_version == FACTS_VERSION
            and has_image(self._store, digest)
        )

    def _make(self) -> str:
        self._tell(ImportEvent("layers", total=len(self._image.layers)))
        compression = self._options.compression
        self._packed = pack_layers(
            self._store,
            compression,
            self._image,
            limits=self._options.limits,
            processes=self._options.processes,
            tell=self._tell,
        )
        indices = []
        for pack in self._packed:
            with store_errors(self._store):
                indices.append(load_index(self._pack_file(pack, "index")))
            mark_used(self._store, compression, pack)
        config = self._configuration(indices)
        digest = _digest(config)
        with image_lock(self._store, digest), store_errors(self._store):
            if not self._is_linked(digest):
                self._tell(ImportEvent("link"))
                self._link(digest, config, indices)
        return digest

    def _configuration(self, indices: Sequence[PackIndex]) -> bytes:
        diff_ids = [index.diff_id for index in indices]
        if self._image.config is None:
            host = host_platform()
            platform = self._image.platform or Platform(
                "linux",
                detect_architecture(
                    (entry for index in indices for entry in index.entries), host.architecture
                ),
            )
            return make_config(platform, diff_ids, self._options.changes, self._image.run_config)
        claimed = parse_image_config(json.loads(self._image.config)).diff_ids
        for layer, claim, diff_id in zip(self._image.layers, claimed, diff_ids, strict=True):
            if claim != diff_id:
                raise SourceError(
                    f"layer {layer.label} is not the one that the configuration names",
                    evidence=f"its diffID is {diff_id}, the configuration says {claim}",
                    remedy="export the image again",
                )
        return change_config(self._image.config, self._options.changes)

    def _pack_file(self, pack: str, suffix: str) -> Path:
        home = self._store.pack_home(self._options.compression, pack)
        return Path(home.pack_file(self._options.compression, pack, suffix))

    def _link(self, digest: str, config: bytes, indices: Sequence[PackIndex]) -> None:
        compression = self._options.compression
        sif = Path(self._store.image_file(digest, "sif"))
        facts = link_image(
            [
                (index, self._pack_file(pack, "pack"))
                for index, pack in zip(indices, self._packed, strict=True)
            ],
            config,
            sif,
            digest=digest,
            reference=str(self._reference),
            compression=compression,
            warn=lambda text: self._tell(ImportEvent("warning", text)),
        )
        write_atomic(Path(self._store.image_file(digest, "config.json")), config)
        write_atomic(Path(self._store.image_file(digest, "facts.json")), dump_facts(facts))
        write_record(
            self._store,
            ImageRecord(
                digest=digest,
                imported=time.time(),
                size=sif.stat().st_size,
                source=self._source,
                platform=str(parse_image_config(json.loads(config)).platform),
                compression=compression,
                facts_version=FACTS_VERSION,
                layers=tuple(
                    RecordedLayer(layer.digest or index.digest, pack, index.diff_id)
                    for layer, pack, index in zip(
                        self._image.layers, self._packed, indices, strict=True
                    )
                ),
            ),
        )


def _sweep(store: StoreLayout) -> None:
    """Delete what crashes left, old enough that nobody can be at work on it."""
    directories = [store.images, store.refs]
    for compression in COMPRESSIONS:
        directories += [store.packs(compression), store.diffs(compression)]
    with store_errors(store):
        for directory in directories:
            sweep_temporaries(Path(directory), _DAY_S, time.time())
    sweep_partials(store, time.time())


def _suggested_name(source: str, image: SourceImage) -> Reference:
    if not image.suggested_name:
        raise UsageError(
            "the image needs a name",
            evidence=f"{source} carries none",
            remedy=f"sampan import {source} NAME",
        )
    return parse_reference(image.suggested_name)


def _check_pin(source: str, reference: Reference, image: SourceImage) -> None:
    if reference.digest and reference.digest != image.manifest_digest:
        raise SourceError(
            f"{source} is not the image that the name pins",
            evidence=f"its manifest is {image.manifest_digest or 'missing'}, "
            f"the name says {reference.digest}",
        )


def _digest(config: bytes) -> str:
    return f"sha256:{hashlib.sha256(config).hexdigest()}"
