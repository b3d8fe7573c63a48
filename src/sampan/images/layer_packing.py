"""Packing the layers of one image that are not packed yet, in worker processes where that pays.

Reading a tar holds the interpreter's lock, so several big layers need several processes; within
one, ``pack`` uses threads.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sampan.images.limits import Limits
from sampan.images.packs import PackTask, find_pack, pack_task
from sampan.images.sources.layer import SourceImage, SourceLayer
from sampan.images.store_access import require_space, store_errors
from sampan.images.store_layout import StoreLayout
from sampan.kernel.workers import run_tasks

WORTH_A_PROCESS = 8 << 20
"""Bytes of a layer that repay the start of a worker process."""

MAXIMUM_PROCESSES = 8

_LEAST_PACKED = 0.7
"""A pack is hardly ever smaller than this share of its gzip or zstd layer."""


class ImportEvent(NamedTuple):
    """What an import tells while it works.

    Attributes:
        kind: ``layers`` (``total`` of them), ``layer`` (``done`` of ``total`` bytes read; 0 total =
            unknown), ``packed``, ``present`` (nothing to do), ``link``, ``warning``.
        text: the layer's label, or the warning.
    """

    kind: str
    text: str = ""
    done: int = 0
    total: int = 0


Tell = Callable[[ImportEvent], None]


def pack_layers(
    store: StoreLayout,
    compression: str,
    image: SourceImage,
    *,
    limits: Limits,
    processes: int | None,
    tell: Tell,
) -> list[str]:
    """Pack what is missing of an image's layers.

    Args:
        store: locked by ``import_lock``.
        compression: of the packs.
        image: its layers are read, each at most once.
        limits: on each layer.
        processes: at most so many; None = by cores and layers.
        tell: hears of the progress.

    Returns:
        For each layer the digest of its pack.

    Raises:
        LayerError: a layer is damaged or hostile.
        SourceError: it cannot be read.
        StoreError: the store cannot be written, or has no room.
    """
    keys = [
        layer.digest or layer.diff_id or f"position {position}"
        for position, layer in enumerate(image.layers)
    ]
    found: dict[str, str] = {}
    missing: dict[str, SourceLayer] = {}
    for key, layer in zip(keys, image.layers, strict=True):
        if key in found or key in missing:
            continue
        pack = find_pack(store, compression, layer.digest, layer.diff_id)
        if pack is None:
            missing[key] = layer
        else:
            found[key] = pack
            tell(ImportEvent("present", layer.label))
    layers = list(missing.values())
    if image.compressed:
        _require_space(store, compression, layers, list(found.values()))
    tasks = [PackTask(store, compression, layer, limits, None) for layer in layers]
    found.update(zip(missing, _pack(tasks, processes, tell), strict=True))
    return [found[key] for key in keys]


def _require_space(
    store: StoreLayout, compression: str, layers: Sequence[SourceLayer], packs: Sequence[str]
) -> None:
    new = int(sum(layer.size for layer in layers) * _LEAST_PACKED)
    with store_errors(store):
        old = sum(os.path.getsize(store.pack_file(compression, pack, "pack")) for pack in packs)
    # New layers are stored twice: as packs, and in the image.
    require_space(store, 2 * new + old)


def _pack(tasks: Sequence[PackTask], limit: int | None, tell: Tell) -> list[str]:
    cores = len(os.sched_getaffinity(0))
    big = sum(task.layer.size >= WORTH_A_PROCESS for task in tasks)
    processes = min(cores, big, limit or MAXIMUM_PROCESSES)
    if processes < 2 or not all(task.layer.is_portable for task in tasks):
        return [_pack_here(task, tell) for task in tasks]
    # The largest first, so that no worker begins it when the others are done. Twice the cores in
    # threads, because layers differ in size and the last one shall still have most of the cores.
    order = sorted(range(len(tasks)), key=lambda at: -tasks[at].layer.size)
    threads = min(cores, max(2, 2 * cores // processes))
    ordered = [tasks[at]._replace(threads=threads) for at in order]

    def hear(position: int, done: int) -> None:
        layer = ordered[position].layer
        tell(ImportEvent("layer", layer.label, done, layer.size))

    def finish(position: int) -> None:
        layer = ordered[position].layer
        tell(ImportEvent("packed", layer.label, layer.size, layer.size))

    digests = run_tasks(pack_task, ordered, processes=processes, progress=hear, finished=finish)
    by_position = dict(zip(order, digests, strict=True))
    return [by_position[at] for at in range(len(tasks))]


def _pack_here(task: PackTask, tell: Tell) -> str:
    layer = task.layer
    digest = pack_task(task, lambda done: tell(ImportEvent("layer", layer.label, done, layer.size)))
    tell(ImportEvent("packed", layer.label, layer.size, layer.size))
    return digest
