"""A layer's tar into a pack: one pass, bounded memory, visible only when it proved to be right.

The stream is inflated and hashed by threads, its tar read here, its files' bytes compressed into
squashfs blocks by more threads. What the blocks look like is ``pack_writer.py``'s, the index file's
format ``pack_file.py``'s. Same layer and compression give the same bytes, however many threads.
"""

import contextlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sampan.images.header_log import HeaderLog
from sampan.images.inflate import Inflated, open_inflated
from sampan.images.layer_columns import EntryTable
from sampan.images.limits import DEFAULT_LIMITS, Limits, refuse_excess, refuse_layer
from sampan.images.pack_file import dump_index
from sampan.images.pack_writer import LEAF_BYTES, PackWriter
from sampan.images.readahead import ReadAhead
from sampan.images.tar import TarReader
from sampan.images.tar_member import TarMember
from sampan.kernel.atomic import atomic_file, write_atomic
from sampan.model.layer import BLOCK_SIZE, EntryKind, PackIndex


def pack_layer(
    stream: BinaryIO,
    data_path: Path,
    index_path: Path,
    *,
    headers_path: Path | None = None,
    layer: str,
    expected_digest: str | None,
    expected_diff_id: str | None,
    compression: str = "zstd",
    limits: Limits = DEFAULT_LIMITS,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    interrupt: Callable[[], None] | None = None,
) -> PackIndex:
    """Pack one layer.

    Neither file is visible before the whole layer was read and both digests matched; the data
    come first, so an index means a complete pack.

    Args:
        stream: the layer, compressed or not; read to its end, not closed.
        data_path: where the compressed blocks go.
        index_path: where the index goes.
        headers_path: where what the tar holds besides contents goes, so that it can be made again.
        layer: what error messages call the layer.
        expected_digest: ``sha256:<hex>`` of the stream, when known.
        expected_diff_id: ``sha256:<hex>`` of the uncompressed tar, when known.
        compression: ``zstd`` or ``gzip``, of the squashfs blocks.
        limits: what the layer may ask for.
        workers: compressing threads; by default as many as this process has cores.
        progress: called now and then, by this thread, with the bytes of the stream read so far.
        interrupt: ends a read of the stream under way in another thread, when packing fails or is
            given up; None = such a read is waited for, for a moment.

    Returns:
        The index, as written.

    Raises:
        LayerError: the layer is damaged, hostile, beyond a limit, or not the one expected.
        UsageError: no such compression.
        OSError: the stream cannot be read, or a file cannot be written.
    """
    with (
        atomic_file(data_path) as data,
        _open_log(headers_path) as log,
        PackWriter(data, compression, workers) as writer,
        open_inflated(stream, layer=layer, limits=limits) as inflated,
        ReadAhead(inflated, interrupt=interrupt) as slabs,
    ):
        source = slabs if progress is None else _Reported(slabs, inflated, progress)
        tar = TarReader(source, layer=layer, limits=limits, log=log)
        entries = _Packer(tar, writer, layer, limits).pack()
        packed = writer.finish()
        digest, diff_id = inflated.digest(), inflated.diff_id()
        _verify(layer, "digest", digest, expected_digest)
        _verify(layer, "diffID (digest of the uncompressed tar)", diff_id, expected_diff_id)
        if packed.numbers:
            entries.contents = array(
                "i", [-1 if number < 0 else packed.numbers[number] for number in entries.contents]
            )
        index = PackIndex(
            compression=compression,
            digest=digest,
            diff_id=diff_id,
            tar_size=inflated.size,
            data_size=packed.size,
            entries=entries,
            contents=packed.contents,
            fragments=packed.fragments,
        )
    write_atomic(index_path, dump_index(index))
    return index


@contextlib.contextmanager
def _open_log(path: Path | None) -> Iterator[HeaderLog | None]:
    if path is None:
        yield None
        return
    with atomic_file(path) as stream:
        log = HeaderLog(stream)
        yield log
        log.finish()


class _Reported:
    """A slab source that tells how far the stream has been read."""

    def __init__(
        self, slabs: ReadAhead, inflated: Inflated, progress: Callable[[int], None]
    ) -> None:
        self._slabs = slabs
        self._inflated = inflated
        self._progress = progress

    def read_slab(self) -> bytes:
        slab = self._slabs.read_slab(self._report)
        self._report()
        return slab

    def _report(self) -> None:
        self._progress(self._inflated.compressed_size)


class _Packer:
    """Takes the members of a tar to a writer and keeps the entries."""

    def __init__(self, tar: TarReader, writer: PackWriter, layer: str, limits: Limits) -> None:
        self._tar = tar
        self._writer = writer
        self._layer = layer
        self._limits = limits
        self._apparent = 0
        self._made = 0

    def pack(self) -> EntryTable:
        """Everything up to the end of the tar."""
        entries = EntryTable()
        append = entries.append
        for member in self._tar:
            path, kind, mode, uid, gid, mtime, link, device, xattrs, size, segments = member
            content = -1
            if kind == EntryKind.FILE:
                if segments is not None:
                    content = self._pack_sparse(member, segments)
                elif size < BLOCK_SIZE:
                    content = self._writer.add_small(self._tar.read(size))
                else:
                    content = self._pack_large(size)
            append(path, kind, mode, uid, gid, mtime, link, device, xattrs, content)
        return entries

    def _pack_large(self, size: int) -> int:
        writer, tar = self._writer, self._tar
        content = writer.begin(size)
        while size > 0:
            leaf = tar.read(min(LEAF_BYTES, size))
            writer.add(content, leaf)
            size -= len(leaf)
        return writer.end(content)

    def _pack_sparse(self, member: TarMember, segments: tuple[tuple[int, int], ...]) -> int:
        size = member.size
        self._apparent += size
        if self._apparent > self._limits.max_sparse_bytes:
            raise refuse_excess(
                self._layer,
                f"its sparse files claim {self._apparent} bytes",
                "max_sparse_bytes",
                self._limits,
                entry=member.path,
            )
        if size < BLOCK_SIZE:
            leaves = b"".join(p for p in self._fill(member, segments) if isinstance(p, bytes))
            return self._writer.add_small(leaves)
        content = self._writer.begin(size)
        for piece in self._fill(member, segments):
            if isinstance(piece, bytes):
                self._writer.add(content, piece)
            else:
                self._writer.skip(content, piece)
        return self._writer.end(content)

    def _fill(
        self, member: TarMember, segments: tuple[tuple[int, int], ...]
    ) -> Iterator[bytes | int]:
        """The leaves of a sparse file that hold data, and numbers of leaves that do not."""
        size = member.size
        done = 0
        leaf = bytearray()
        for start, length in segments:
            at, end = start, start + length
            while at < end:
                wanted, inside = divmod(at, LEAF_BYTES)
                if leaf and wanted != done:
                    yield bytes(leaf)
                    leaf = bytearray()
                    done += 1
                if wanted > done:
                    yield wanted - done
                    done = wanted
                if not leaf:
                    leaf = bytearray(min(LEAF_BYTES, size - done * LEAF_BYTES))
                    self._count_made(len(leaf), member)
                part = min(end - at, LEAF_BYTES - inside)
                leaf[inside : inside + part] = self._tar.read(part, at)
                at += part
        if leaf:
            yield bytes(leaf)
            done += 1
        rest = size - done * LEAF_BYTES
        if rest >= LEAF_BYTES:
            yield rest // LEAF_BYTES
        if rest > 0 and rest % LEAF_BYTES:
            yield bytes(rest % LEAF_BYTES)

    def _count_made(self, made: int, member: TarMember) -> None:
        """Refuse a map that makes a mebibyte out of every few bytes."""
        self._made += made
        if self._made > self._limits.ratio_floor_bytes and (
            self._made > self._limits.max_ratio * self._tar.offset
        ):
            raise refuse_excess(
                self._layer,
                f"its sparse files make {self._made} bytes out of {self._tar.offset}",
                "max_ratio",
                self._limits,
                entry=member.path,
            )


def _verify(layer: str, what: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise refuse_layer(layer, f"its {what} is {found}, not {expected}")
