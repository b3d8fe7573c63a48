"""Packing the layers of one image that are not packed yet, in worker processes where that pays.

Reading a tar holds the interpreter's lock, so several big layers need several processes; within
one, ``pack`` uses threads.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sampan.images.limits import Limits
from sampan.images.metering import LayerProgress
from sampan.images.packs import DEFAULT_MEMORY, PackTask, find_pack, pack_task
from sampan.images.room import measure_room, require_room
from sampan.images.store_access import store_errors
from sampan.images.store_layout import StoreLayout
from sampan.kernel.workers import run_tasks
from sampan.model.source import SourceImage, SourceLayer

WORTH_A_PROCESS = 8 << 20
"""Bytes of a layer that repay the start of a worker process."""

MAXIMUM_PROCESSES = 8

_REMOTE_PROCESSES = 4
"""More layers at once bring nothing a network could give, and would not fit into the budget."""

MEMORY_BUDGET = 280 << 20
"""Bytes that all processes of a pull may use together, whatever the sizes."""

_OWN_MEMORY = 40 << 20
_WORKER_MEMORY = 45 << 20
_THREAD_MEMORY = 5 << 20
"""This process, a worker without and with a thread: rounded up from what single pulls took."""

_LEAST_PACKED = 0.7
"""A pack is hardly ever smaller than this share of its gzip or zstd layer."""

_FILES_OF_PACK = 4
_FILES_OF_IMAGE = 5


class ImportEvent(NamedTuple):
    """What an import tells while it works.

    Attributes:
        kind: ``layers`` (``total`` of them), ``layer`` (``done`` of ``total`` bytes read; 0 total =
            unknown), ``packed``, ``present`` (nothing to do), ``link``, ``warning``.
        text: the layer's label, or the warning.
        stage: of a layer; see LayerProgress.
        limit: likewise.
    """

    kind: str
    text: str = ""
    done: int = 0
    total: int = 0
    stage: str = ""
    limit: str = ""


Tell = Callable[[ImportEvent], None]


class LayerPlan(NamedTuple):
    """Which layers of an image are packed already, and what the rest will cost.

    Attributes:
        keys: of each layer of the image; equal layers have equal keys.
        found: key -> digest of the pack that is there.
        missing: key -> layer.
        fetch_bytes: of the missing layers, as their source gives them; 0 when it does not know.
        present_bytes: of the layers that are there, likewise.
        needed_bytes: that will be written at the least; 0 when not known.
        likely_bytes: that will be on the disk afterwards, more or less; 0 when not known.
    """

    keys: tuple[str, ...]
    found: dict[str, str]
    missing: dict[str, SourceLayer]
    fetch_bytes: int
    present_bytes: int
    needed_bytes: int
    likely_bytes: int

    @property
    def needed_files(self) -> int:
        """Files that will be written at the least."""
        return _FILES_OF_PACK * len(self.missing) + _FILES_OF_IMAGE


def plan_layers(store: StoreLayout, compression: str, image: SourceImage) -> LayerPlan:
    """Look which layers are packed. Writes nothing; the store need not exist.

    Raises:
        StoreError: the store cannot be read.
    """
    keys = tuple(
        layer.digest or layer.diff_id or f"position {position}"
        for position, layer in enumerate(image.layers)
    )
    layers = dict(zip(keys, image.layers, strict=True))
    packs = {
        key: find_pack(store, compression, layer.digest, layer.diff_id)
        for key, layer in layers.items()
    }
    found = {key: pack for key, pack in packs.items() if pack is not None}
    missing = {key: layer for key, layer in layers.items() if packs[key] is None}
    fetch = sum(layer.size for layer in missing.values())
    needed = likely = 0
    if image.compressed:
        with store_errors(store):
            old = sum(
                os.path.getsize(
                    store.pack_home(compression, pack).pack_file(compression, pack, "pack")
                )
                for pack in found.values()
            )
        # New layers are stored twice: as packs, and in the image.
        needed = 2 * int(fetch * _LEAST_PACKED) + old
        likely = 2 * fetch + old
    present = sum(layers[key].size for key in found)
    return LayerPlan(keys, found, missing, fetch, present, needed, likely)


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
    plan = plan_layers(store, compression, image)
    labels = dict(zip(plan.keys, (layer.label for layer in image.layers), strict=True))
    for key in plan.found:
        tell(ImportEvent("present", labels[key]))
    require_room(
        store,
        measure_room(store),
        needed_bytes=plan.needed_bytes,
        needed_files=plan.needed_files,
    )
    tasks = [PackTask(store, compression, layer, limits, None) for layer in plan.missing.values()]
    wanted = _worker_number(tasks, processes, remote=image.remote)
    packed = dict(zip(plan.missing, _pack(tasks, wanted, tell, remote=image.remote), strict=True))
    return [plan.found.get(key) or packed[key] for key in plan.keys]


def _worker_number(tasks: Sequence[PackTask], limit: int | None, *, remote: bool) -> int:
    """How many worker processes pay; below 2 this process does the work."""
    cores = len(os.sched_getaffinity(0))
    if not all(task.layer.is_portable for task in tasks):
        return 1
    if remote and sum(task.layer.size for task in tasks) >= WORTH_A_PROCESS:
        # Two at least: while one waits for the network, the other works. More than cores cost
        # more than they bring (seen on two cores).
        return min(max(cores, 2), len(tasks), limit or _REMOTE_PROCESSES)
    big = sum(task.layer.size >= WORTH_A_PROCESS for task in tasks)
    return min(cores, big, limit or MAXIMUM_PROCESSES)


def _divide_memory(processes: int, threads: int) -> tuple[int, int]:
    """Threads of each worker, and bytes that it may read ahead, so that all stay in the budget."""
    share = (MEMORY_BUDGET - _OWN_MEMORY) // processes
    memory = min(DEFAULT_MEMORY, share // 4)
    room = (share - _WORKER_MEMORY - memory) // _THREAD_MEMORY
    return max(2, min(threads, room)), memory


def _pack(tasks: Sequence[PackTask], processes: int, tell: Tell, *, remote: bool) -> list[str]:
    if processes < 2:
        return [_pack_here(task, tell) for task in tasks]
    # The largest first, so that no worker begins it when the others are done. Twice the cores in
    # threads, because layers differ in size and the last one shall still have most of the cores.
    cores = len(os.sched_getaffinity(0))
    order = sorted(range(len(tasks)), key=lambda at: -tasks[at].layer.size)
    threads = min(cores, max(2, 2 * cores // processes))
    memory = DEFAULT_MEMORY
    if remote:
        threads, memory = _divide_memory(processes, threads)
    ordered = [tasks[at]._replace(threads=threads, memory=memory) for at in order]

    def hear(position: int, progress: LayerProgress) -> None:
        tell(_event(ordered[position].layer, progress))

    def finish(position: int) -> None:
        layer = ordered[position].layer
        tell(ImportEvent("packed", layer.label, layer.size, layer.size))

    digests = run_tasks(pack_task, ordered, processes=processes, progress=hear, finished=finish)
    by_position = dict(zip(order, digests, strict=True))
    return [by_position[at] for at in range(len(tasks))]


def _event(layer: SourceLayer, progress: LayerProgress) -> ImportEvent:
    done, stage, limit = progress
    return ImportEvent("layer", layer.label, done, layer.size, stage, limit)


def _pack_here(task: PackTask, tell: Tell) -> str:
    layer = task.layer
    digest = pack_task(task, lambda progress: tell(_event(layer, progress)))
    tell(ImportEvent("packed", layer.label, layer.size, layer.size))
    return digest
