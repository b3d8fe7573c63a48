"""The store's packed layers: finding, packing once whoever asks, last use (design.md §4).

``pack_task`` is what a worker process executes; it and its argument can be pickled.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from sampan.images.limits import LayerError, Limits
from sampan.images.metering import LayerMeter, LayerProgress
from sampan.images.pack import pack_layer
from sampan.images.partial import KeptStream, drop_partials
from sampan.images.store_access import layer_lock, store_errors
from sampan.images.store_layout import StoreLayout, hex_of
from sampan.kernel.atomic import sync_directory, temporary_beside, write_atomic
from sampan.model.layer import PackIndex
from sampan.model.source import ResumableLayer, SourceLayer

DEFAULT_MEMORY = 48 << 20


class PackTask(NamedTuple):
    """A layer to be packed into the store.

    Attributes:
        threads: that compress; None = as many as there are cores.
        memory: bytes of a remote layer that may be read ahead.
    """

    layout: StoreLayout
    compression: str
    layer: SourceLayer
    limits: Limits
    threads: int | None
    memory: int = DEFAULT_MEMORY


Report = Callable[[LayerProgress], None]


def find_pack(layout: StoreLayout, compression: str, digest: str, diff_id: str) -> str | None:
    """Digest under which a layer is packed already, by its own digest or its diffID; or None.

    Site stores count too: ``layout.pack_home`` says where the pack is.
    """
    for home in layout.stack:
        if digest and os.path.exists(home.pack_file(compression, digest, "index")):
            return digest
        if diff_id:
            with contextlib.suppress(FileNotFoundError):
                found = Path(home.diffs(compression), hex_of(diff_id)).read_text()
                if os.path.exists(home.pack_file(compression, found, "index")):
                    return found
    return None


def pack_task(task: PackTask, report: Report) -> str:
    """Pack a layer unless another process just did; return the digest it is stored under.

    While another process is at it, its progress is reported; when it dies, we take over.

    Raises:
        LayerError: the layer is broken or hostile.
        SourceError: it cannot be read.
        StoreError: the store cannot be written.
    """
    layer = task.layer
    if not layer.digest:
        return _pack_unknown(task, report)

    def wait(done: int) -> None:
        report(LayerProgress(done, "wait"))

    with layer_lock(task.layout, task.compression, layer.digest, wait) as note:

        def tell(progress: LayerProgress) -> None:
            note(progress.done)
            report(progress)

        found = find_pack(task.layout, task.compression, layer.digest, layer.diff_id)
        if found is not None:
            return found
        index = Path(task.layout.pack_file(task.compression, layer.digest, "index"))
        diff_id = _pack_known(task, index, tell)
        _note_diff(task.layout, task.compression, layer.digest, diff_id)
    return layer.digest


def mark_used(layout: StoreLayout, compression: str, digest: str) -> None:
    """Remember that a pack was needed now, for ``sampan prune --older-than`` and ``--max-size``."""
    with contextlib.suppress(OSError):
        os.utime(layout.pack_file(compression, digest, "index"))


def _pack_known(task: PackTask, index: Path, report: Report) -> str:
    """Pack a layer whose digest is known, with what an earlier pull has left of it; its diffID."""
    layer, data = task.layer, index.with_suffix(".pack")
    if not isinstance(layer, ResumableLayer):
        with layer.open() as stream:
            return _pack(task, stream, data, index, LayerMeter(report, layer.size, None))[1]
    while True:
        with KeptStream(task.layout, layer, memory=task.memory) as kept:
            meter = LayerMeter(report, layer.size, kept)
            try:
                stream = cast("BinaryIO", kept)
                diff_id = _pack(task, stream, data, index, meter, interrupt=kept.close)[1]
            except LayerError:
                drop_partials(task.layout, layer.digest)
                # What was kept may be what is wrong: once more, all from the network.
                if not kept.is_resumed:
                    raise
            else:
                drop_partials(task.layout, layer.digest)
                return diff_id


def _pack_unknown(task: PackTask, report: Report) -> str:
    """A layer whose digest is known when it has been read: packed aside, then moved."""
    directory = Path(task.layout.packs(task.compression))
    index = temporary_beside(directory / "layer.index")
    data = index.with_suffix(".pack")
    try:
        with task.layer.open() as stream:
            meter = LayerMeter(report, task.layer.size, None)
            digest, diff_id = _pack(task, stream, data, index, meter)
        _adopt(task.layout, task.compression, index, digest, diff_id)
    finally:
        for path in (data, index.with_suffix(".headers"), index):
            path.unlink(missing_ok=True)
    return digest


def adopt_pack(layout: StoreLayout, index_path: Path, index: PackIndex) -> None:
    """Let a pack exist that lies whole and verified under a temporary name in its directory.

    Raises:
        StoreError: the store cannot be written.
    """
    _adopt(layout, index.compression, index_path, index.digest, index.diff_id)


def _adopt(layout: StoreLayout, compression: str, index: Path, digest: str, diff_id: str) -> None:
    with layer_lock(layout, compression, digest), store_errors(layout):
        if find_pack(layout, compression, digest, "") is None:
            final = Path(layout.pack_file(compression, digest, "index"))
            for suffix in (".pack", ".headers", ".index"):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(index.with_suffix(suffix), final.with_suffix(suffix))
            sync_directory(final.parent)
        _note_diff(layout, compression, digest, diff_id)


def _pack(
    task: PackTask,
    stream: BinaryIO,
    data: Path,
    index: Path,
    progress: Callable[[int], None],
    interrupt: Callable[[], None] | None = None,
) -> tuple[str, str]:
    layer = task.layer
    with store_errors(task.layout):
        packed = pack_layer(
            stream,
            data,
            index,
            headers_path=index.with_suffix(".headers"),
            layer=layer.label,
            expected_digest=layer.digest or None,
            expected_diff_id=layer.diff_id or None,
            compression=task.compression,
            limits=task.limits,
            workers=task.threads,
            progress=progress,
            interrupt=interrupt,
        )
    return packed.digest, packed.diff_id


def _note_diff(layout: StoreLayout, compression: str, digest: str, diff_id: str) -> None:
    with store_errors(layout):
        write_atomic(Path(layout.diffs(compression), hex_of(diff_id)), digest.encode())
