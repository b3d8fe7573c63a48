"""The tar of a packed layer, made again byte by byte: what push, save and export give out.

Contents come from the pack's blocks, everything else from the file of headers beside it
(``header_log.py``). What comes out is hashed on the way and held against the layer's diffID.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from sampan.errors import SampanError
from sampan.images.header_log import read_runs
from sampan.images.pack_file import PackData, PackError, load_index
from sampan.images.packs import find_pack
from sampan.images.store_layout import COMPRESSIONS, StoreLayout
from sampan.model.layer import PackIndex


class LayerMissingError(SampanError):
    """A layer cannot be given out: its pack is gone, or was made before headers were kept."""

    id = "layer-missing"


class PackedLayer(NamedTuple):
    """A layer of the store that can be given out.

    Attributes:
        index_path: of the pack; data and headers lie beside it.
        digest: under which the pack lies: the layer's when it was fetched.
        diff_id: of the tar.
    """

    index_path: str
    digest: str
    diff_id: str

    def open(self) -> BinaryIO:
        """The uncompressed tar, verified against the diffID while it is read.

        Raises:
            PackError: now or while reading: the pack is damaged.
            OSError: it cannot be read.
        """
        return cast("BinaryIO", io.BufferedReader(LayerTar(Path(self.index_path)), 1 << 18))

    def tar_size(self) -> int:
        """Bytes of the tar.

        Raises:
            PackError: the index is damaged.
            OSError: it cannot be read.
        """
        return load_index(Path(self.index_path)).tar_size


def locate_layer(
    layout: StoreLayout, compression: str, digest: str, diff_id: str, *, image: str
) -> PackedLayer:
    """The pack of a layer, of whatever compression there is one that has its headers.

    Args:
        layout: the store.
        compression: looked at first.
        digest: of the layer as it was fetched, or of its pack.
        diff_id: of its tar.
        image: what messages call the image.

    Raises:
        LayerMissingError: there is none; says how to get it.
    """
    is_packed = False
    for choice in sorted(COMPRESSIONS, key=lambda name: name != compression):
        pack = find_pack(layout, choice, digest, diff_id)
        if pack is None:
            continue
        is_packed = True
        home = layout.pack_home(choice, pack)
        if os.path.exists(home.pack_file(choice, pack, "headers")):
            return PackedLayer(home.pack_file(choice, pack, "index"), pack, diff_id)
    raise LayerMissingError(
        f"a layer of {image} cannot be given out",
        evidence=f"layer {diff_id[:19]}: "
        + ("it was packed before tar headers were kept" if is_packed else "its pack was pruned"),
        remedy=f"fetch it again: sampan rmi -f {image} && sampan prune --all && sampan pull {image}"
        if is_packed
        else f"fetch it again: sampan rmi -f {image} && sampan pull {image}",
    )


class LayerTar(io.RawIOBase):
    """The tar of a pack as a stream, read once from front to back."""

    def __init__(self, index_path: Path) -> None:
        """Open the pack whose index lies at ``index_path``.

        Raises:
            PackError: the index is damaged.
            OSError: a file cannot be read.
        """
        super().__init__()
        self._path = index_path
        self._index = load_index(index_path)
        self._data = PackData(self._index, index_path.with_suffix(".pack"))
        self._hash = hashlib.sha256()
        self._size = 0
        self._pieces = _pieces(self._index, self._data, index_path.with_suffix(".headers"))
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        """Always, until closed."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; 0 at the end, once the whole proved to be right.

        Raises:
            PackError: the pack is damaged, or the tar is not the one that was packed.
            OSError: it cannot be read.
        """
        done = 0
        while done < len(buffer):
            if not self._piece:
                piece = next(self._pieces, None)
                if piece is None:
                    if done == 0:
                        self._verify()
                    break
                self._piece = memoryview(piece)
                continue
            part = self._piece[: len(buffer) - done]
            buffer[done : done + len(part)] = part
            self._piece = self._piece[len(part) :]
            done += len(part)
        self._hash.update(memoryview(buffer)[:done])
        self._size += done
        return done

    def close(self) -> None:
        """Close the pack; may be called again."""
        if not self.closed:
            self._data.close()
        super().close()

    def _verify(self) -> None:
        found = f"sha256:{self._hash.hexdigest()}"
        if (self._size, found) != (self._index.tar_size, self._index.diff_id):
            raise PackError(
                "a pack in the store does not give back the layer that was packed",
                evidence=f"{self._path}: {self._size} bytes, {found}; the layer had "
                f"{self._index.tar_size} bytes, {self._index.diff_id}",
                remedy="sampan rmi -f IMAGE, sampan prune --all, then pull or import it again",
            )


def _pieces(index: PackIndex, data: PackData, headers: Path) -> Iterator[bytes]:
    entries, contents = index.entries, index.contents
    for literal, entry, offset, size in read_runs(headers):
        if literal:
            yield literal
        if entry < 0:
            continue
        number = entries[entry].content if entry < len(entries) else -1
        if number < 0:
            raise PackError(
                "the headers of a layer in the store are damaged",
                evidence=f"{headers}: entry {entry} has no content",
                remedy="sampan rmi -f IMAGE, sampan prune --all, then pull or import it again",
            )
        yield from data.iterate_content(contents[number], offset, size)
