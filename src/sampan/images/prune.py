"""Freeing what no image needs: packs, images without a name, what crashes left (design.md §4)."""

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from sampan.images.catalogue import delete_image_files, list_names, list_records
from sampan.images.partial import list_partials
from sampan.images.store_access import names_lock, passing_locks, prune_lock, store_errors
from sampan.images.store_layout import COMPRESSIONS, PACK_SUFFIXES, StoreLayout
from sampan.kernel.lock_support import NO_LOCKS
from sampan.kernel.locks import is_held


class PruneOptions(NamedTuple):
    """What to free beyond the default.

    Attributes:
        all_packs: also packs that an image was linked from: the image stays, but an image derived
            from it must be packed anew.
        older_than_s: only what was not used for so many seconds.
        max_size: also the packs not used for longest, until the store has at most so many bytes.
        dry_run: delete nothing.
    """

    all_packs: bool = False
    older_than_s: float = 0.0
    max_size: int | None = None
    dry_run: bool = False


class PrunedItem(NamedTuple):
    """Something freed: ``image``, ``pack`` or ``left-over``, its name, the bytes on disk."""

    kind: str
    name: str
    size: int


class _Pack(NamedTuple):
    digest: str
    compression: str
    used: float
    size: int


def prune(
    layout: StoreLayout, options: PruneOptions, *, in_use: AbstractSet[str], now: float
) -> list[PrunedItem]:
    """Free space; waits for running imports to end.

    Images that have a name are never touched, whatever the options.

    Args:
        layout: a store that exists.
        options: see there.
        in_use: ids of images that containers use.
        now: seconds since the epoch.

    Raises:
        StoreError: the store cannot be written.
    """
    freed: list[PrunedItem] = []
    with prune_lock(layout) as require, names_lock(layout), store_errors(layout):
        for item in _free_all(layout, options, in_use, now):
            freed.append(item)
            require()
        require()
        if not options.dry_run:
            for lock in passing_locks(layout):
                lock.unlink()
    return freed


def _free_all(
    layout: StoreLayout, options: PruneOptions, in_use: AbstractSet[str], now: float
) -> Iterator[PrunedItem]:
    yield from prune_left_overs(layout, dry_run=options.dry_run)
    gone = set()
    for item in _prune_images(layout, options, in_use, now):
        gone.add(item.name)
        yield item
    yield from _prune_packs(layout, options, now, gone)


def disk_size(layout: StoreLayout) -> int:
    """Bytes on disk of everything in the store."""
    return sum(
        os.lstat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, names in os.walk(layout.root)
        for name in names
    )


def prune_left_overs(layout: StoreLayout, *, dry_run: bool) -> Iterator[PrunedItem]:
    """Free what interrupted imports left and what a repair set aside; ``prune_lock`` is held.

    Raises:
        OSError: the store cannot be written.
    """
    # No import is at work, so whatever is incomplete is a crash's.
    markers = {layout.images: "record.json", layout.refs: ""}
    for compression in COMPRESSIONS:
        markers |= {layout.packs(compression): "index", layout.diffs(compression): ""}
    for directory, marker in markers.items():
        names = set(os.listdir(directory))
        for name in sorted(names):
            incomplete = marker and f"{name.partition('.')[0]}.{marker}" not in names
            if name.startswith(".tmp-") or incomplete:
                yield _free("left-over", name, [f"{directory}/{name}"], dry_run=dry_run)
    for kept in [*list_partials(layout), *_list_quarantine(layout)]:
        yield _free("left-over", os.path.basename(kept), [kept], dry_run=dry_run)
    for compression in COMPRESSIONS:
        for path in _diff_notes(layout, compression):
            if not os.path.exists(layout.pack_file(compression, path.read_text(), "index")):
                yield _free("left-over", path.name, [str(path)], dry_run=dry_run)


def _list_quarantine(layout: StoreLayout) -> list[str]:
    try:
        names = sorted(os.listdir(layout.quarantine))
    except FileNotFoundError:
        return []
    return [f"{layout.quarantine}/{name}" for name in names]


def _prune_images(
    layout: StoreLayout, options: PruneOptions, in_use: AbstractSet[str], now: float
) -> Iterator[PrunedItem]:
    named = {name.image for name in list_names(layout)}
    for record in list_records(layout):
        if (
            record.digest in named
            or record.digest in in_use
            or now - record.imported < options.older_than_s
            or _may_be_held(layout.image_file(record.digest, "sif"))
        ):
            continue
        size = record.size if options.dry_run else delete_image_files(layout, record.digest)
        yield PrunedItem("image", record.digest, size)


def _may_be_held(path: str) -> bool:
    """Whether a container of anybody uses the image; yes where a file system has no locks to tell."""
    try:
        return is_held(path)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return True
        raise


def _prune_packs(
    layout: StoreLayout, options: PruneOptions, now: float, gone: AbstractSet[str]
) -> Iterator[PrunedItem]:
    needed = {
        (record.compression, layer.pack)
        for record in list_records(layout)
        if record.digest not in gone
        for layer in record.layers
    }
    kept = []
    for pack in sorted(_packs(layout), key=lambda pack: (pack.used, pack.digest)):
        is_needed = (pack.compression, pack.digest) in needed and not options.all_packs
        if is_needed or now - pack.used < options.older_than_s:
            kept.append(pack)
        else:
            yield _free_pack(layout, pack, dry_run=options.dry_run)
    if options.max_size is None:
        return
    size = disk_size(layout)
    for pack in kept:
        if size <= options.max_size:
            break
        size -= pack.size
        yield _free_pack(layout, pack, dry_run=options.dry_run)


def _packs(layout: StoreLayout) -> Iterator[_Pack]:
    for compression in COMPRESSIONS:
        for entry in os.scandir(layout.packs(compression)):
            if not entry.name.endswith(".index") or entry.name.startswith("."):
                continue
            state = entry.stat()
            digest = f"sha256:{entry.name.removesuffix('.index')}"
            size = sum(
                os.lstat(path).st_blocks * 512 for path in _pack_files(layout, compression, digest)
            )
            yield _Pack(digest, compression, state.st_mtime, size)


def _pack_files(layout: StoreLayout, compression: str, digest: str) -> list[str]:
    """A pack's files, index first; packs of older versions have fewer."""
    paths = [layout.pack_file(compression, digest, suffix) for suffix in PACK_SUFFIXES]
    return [path for path in paths if os.path.lexists(path)]


def _free_pack(layout: StoreLayout, pack: _Pack, *, dry_run: bool) -> PrunedItem:
    # The index goes first: a pack exists as long as its index does.
    paths = _pack_files(layout, pack.compression, pack.digest)
    notes = _diff_notes(layout, pack.compression)
    paths += [str(path) for path in notes if path.read_text() == pack.digest]
    return _free("pack", pack.digest, paths, dry_run=dry_run)


def _diff_notes(layout: StoreLayout, compression: str) -> list[Path]:
    names = sorted(os.listdir(layout.diffs(compression)))
    return [Path(layout.diffs(compression), name) for name in names if not name.startswith(".")]


def _free(kind: str, name: str, paths: list[str], *, dry_run: bool) -> PrunedItem:
    size = 0
    act: Callable[[str], None] = _leave if dry_run else os.unlink
    for path in paths:
        size += os.lstat(path).st_blocks * 512
        act(path)
    return PrunedItem(kind, name, size)


def _leave(path: str) -> None:
    """A dry run's deletion."""
