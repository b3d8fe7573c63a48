"""File contents in the image: which blocks of which pack are live, where they land, the copying.

Compressed blocks are copied as they are, whole fragments included. A content that several layers
or files share (same digest, same size) is copied once.
"""

import bisect
import errno
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, compress
from typing import NamedTuple

from sampan.errors import InternalError
from sampan.images.layer_columns import DIGEST_BYTES, ContentTable, content_table
from sampan.images.squashfs.layout import FRAGMENT
from sampan.kernel.writeback import start_writeback
from sampan.model.layer import BLOCK_SIZE, NO_FRAGMENT, UNCOMPRESSED, PackIndex

_SIZE_MASK = UNCOMPRESSED - 1
_PAGE = 4096
_PARTS = 16
_WORTH_SHARING = 1 << 20
"""Ranges from this size on are placed so that a file system with reflinks can share them."""
_COPY_AT_ONCE = 32 << 20
_WORTH_WRITING = 1 << 20
"""Pieces that the disk is told to begin with while the next one is copied."""
_READ_AT_ONCE = 1 << 20
_NOT_HERE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""What copy_file_range(2) answers where it cannot serve this pair of files."""


class LayerData(NamedTuple):
    """A packed layer and its data: an open file descriptor, or the bytes themselves."""

    pack: PackIndex
    data: int | bytes


class Stored(NamedTuple):
    """A content as an inode describes it: numbers of the image, not of the pack.

    Attributes:
        start: position of the first block from the image's start; 0 without stored blocks.
        holes: bytes of the content that are holes.
        fragment: number in the image's fragment table, or NO_FRAGMENT.
    """

    size: int
    start: int
    blocks: Sequence[int]
    holes: int
    fragment: int
    fragment_offset: int


class Copy(NamedTuple):
    """A range of a layer's data (``begin`` to ``end``) and its place in the image."""

    layer: int
    begin: int
    end: int
    place: int


class Contents(NamedTuple):
    """Every live content of an image.

    Attributes:
        stored: by (layer number, content number).
        fragments: encoded fragment table entries.
        copies: what has to be copied.
        end: position behind the last byte of data.
    """

    stored: "StoredContents"
    fragments: list[bytes]
    copies: list[Copy]
    end: int


class StoredContents:
    """What an inode says of each content, computed when it is asked for."""

    def __init__(
        self,
        tables: Sequence[ContentTable],
        first: "_FirstOfEqual",
        moves: "Sequence[_Moves]",
        fragment_numbers: Sequence[dict[int, int]],
    ) -> None:
        self._tables = tables
        self._first = first
        self._moves = moves
        self._fragment_numbers = fragment_numbers

    def __getitem__(self, key: tuple[int, int]) -> Stored:
        """Of a live content, by its layer's number and its own."""
        layer, number = self._first.of(*key)
        table = self._tables[layer]
        size = table.sizes[number]
        fragment = table.fragments[number]
        if fragment != NO_FRAGMENT:
            fragment = self._fragment_numbers[layer][fragment]
        offset = table.fragment_offsets[number]
        blocks = table.blocks(number)
        if not blocks:
            return Stored(size, 0, (), 0, fragment, offset)
        start = self._moves[layer].new_place(table.starts[number]) if any(blocks) else 0
        return Stored(size, start, blocks, _holes(size, blocks), fragment, offset)


def place_contents(
    layers: Sequence[LayerData], live: Iterable[tuple[int, int]], start: int
) -> Contents:
    """Decide where the live contents of all layers lie in the image.

    Args:
        layers: lowest first.
        live: (layer number, content number) of every file in the tree, in any order.
        start: position inside the image where data begins.
    """
    tables = [content_table(layer.pack.contents) for layer in layers]
    first = _FirstOfEqual(tables, live)
    position = start
    moves: list[_Moves] = []
    fragment_numbers: list[dict[int, int]] = []
    fragments: list[bytes] = []
    for number, (layer, table) in enumerate(zip(layers, tables, strict=True)):
        pack = layer.pack
        used_fragments = set()
        ranges = []
        for content in first.of_layer(number):
            used_fragments.add(table.fragments[content])
            if table.block_numbers[content]:
                begin = table.starts[content]
                size = sum([word & _SIZE_MASK for word in table.blocks(content)])
                ranges.append((begin, begin + size))
        used_fragments.discard(NO_FRAGMENT)
        live_fragments = sorted(used_fragments)
        for one in live_fragments:
            fragment = pack.fragments[one]
            ranges.append((fragment.start, fragment.start + (fragment.size & _SIZE_MASK)))
        moved = _Moves(_merge(ranges), position)
        position = moved.end
        moves.append(moved)
        numbers = {}
        for one in live_fragments:
            fragment = pack.fragments[one]
            numbers[one] = len(fragments)
            fragments.append(FRAGMENT.pack(moved.new_place(fragment.start), fragment.size, 0))
        fragment_numbers.append(numbers)
    copies = [
        Copy(number, begin, end, place)
        for number, moved in enumerate(moves)
        for (begin, end), place in zip(moved.ranges, moved.places, strict=True)
    ]
    return Contents(
        StoredContents(tables, first, moves, fragment_numbers), fragments, copies, position
    )


class _FirstOfEqual:
    """Which contents are live, and of several equal ones the first: the one that is stored."""

    def __init__(self, tables: Sequence[ContentTable], live: Iterable[tuple[int, int]]) -> None:
        # Contents of all layers are numbered through.
        self._bases = list(accumulate(map(len, tables), initial=0))
        is_live = bytearray(self._bases[-1])
        for layer, number in live:
            is_live[self._bases[layer] + number] = 1
        self._first = array("I", range(self._bases[-1]))
        self._is_stored = is_live
        self._find_equal(tables)

    def _find_equal(self, tables: Sequence[ContentTable]) -> None:
        # A part of the digests at a time: a dictionary of all of them is what takes memory.
        parts = [array("I") for _ in range(_PARTS)]
        for base, table in zip(self._bases, tables, strict=False):
            for at, head in enumerate(table.digests[::DIGEST_BYTES], base):
                if self._is_stored[at]:
                    parts[head % _PARTS].append(at)
        for part in parts:
            chosen: dict[tuple[bytes, int], int] = {}
            for at in part:
                layer = bisect.bisect_right(self._bases, at) - 1
                number = at - self._bases[layer]
                table = tables[layer]
                first = chosen.setdefault((table.digest(number), table.sizes[number]), at)
                if first != at:
                    self._first[at] = first
                    self._is_stored[at] = 0

    def of(self, layer: int, number: int) -> tuple[int, int]:
        """The content that stands for this one."""
        at = self._bases[layer] + number
        first = self._first[at]
        if first == at:
            return layer, number
        layer = bisect.bisect_right(self._bases, first) - 1
        return layer, first - self._bases[layer]

    def of_layer(self, layer: int) -> Iterator[int]:
        """Contents of a layer that are stored."""
        begin, end = self._bases[layer], self._bases[layer + 1]
        return compress(range(end - begin), self._is_stored[begin:end])


def copy_contents(
    copies: Iterable[Copy], layers: Sequence[LayerData], target: int, base: int
) -> None:
    """Copy the ranges that ``place_contents`` planned.

    Args:
        copies: of ``Contents``.
        layers: the same as there.
        target: descriptor of the image's file.
        base: position of the image inside that file.

    Raises:
        InternalError: a pack is shorter than its index says.
        OSError: reading or writing failed.
    """
    for layer, begin, end, place in copies:
        data = layers[layer].data
        if isinstance(data, bytes):
            write_fully(target, memoryview(data)[begin:end], base + place)
            continue
        head = min(-begin % _PAGE, end - begin)
        copy_range(data, begin, target, base + place, head)
        copy_range(data, begin + head, target, base + place + head, end - begin - head)


class _Moves:
    """Ranges of one pack, laid one behind the other from ``start`` on."""

    def __init__(self, ranges: list[tuple[int, int]], start: int) -> None:
        self.ranges = ranges
        self.begins = [begin for begin, _ in ranges]
        self.places = []
        self.end = start
        for begin, end in ranges:
            if end - begin >= _WORTH_SHARING:
                self.end += (begin - self.end) % _PAGE
            self.places.append(self.end)
            self.end += end - begin

    def new_place(self, old: int) -> int:
        """Position in the image of a byte of the pack that lies in one of the ranges."""
        at = bisect.bisect_right(self.begins, old) - 1
        return old - self.begins[at] + self.places[at]


def _merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges.sort()
    merged: list[tuple[int, int]] = []
    for begin, end in ranges:
        if begin == end:
            continue
        if merged and begin <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


def _holes(size: int, blocks: Sequence[int]) -> int:
    if 0 not in blocks:
        return 0
    holes = sum([BLOCK_SIZE for word in blocks if not word])
    excess = len(blocks) * BLOCK_SIZE - size
    if excess > 0 and not blocks[-1]:
        holes -= excess
    return holes


def copy_range(source: int, offset: int, target: int, place: int, size: int) -> None:
    """Copy ``size`` bytes between files, inside the kernel where it can.

    Raises:
        InternalError: the source ends early.
        OSError: reading or writing failed.
    """
    inside_kernel = True
    while size:
        if inside_kernel:
            try:
                done = os.copy_file_range(source, target, min(size, _COPY_AT_ONCE), offset, place)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                inside_kernel = False
                continue
            if done >= _WORTH_WRITING:
                start_writeback(target, place, done)
        else:
            piece = os.pread(source, min(size, _READ_AT_ONCE), offset)
            write_fully(target, piece, place)
            done = len(piece)
        if not done:
            raise InternalError(
                "a pack is shorter than its index says",
                evidence=f"{size} bytes are missing at offset {offset}",
                remedy="sampan prune --all, then import the image again",
            )
        offset += done
        place += done
        size -= done


def write_fully(target: int, data: "bytes | memoryview", place: int) -> None:
    """Write all of ``data`` at ``place``, however often the kernel stops in between."""
    view = memoryview(data)
    while view:
        done = os.pwrite(target, view, place)
        view = view[done:]
        place += done
