"""File contents in the image: which blocks of which pack are live, where they land, the copying.

Compressed blocks are copied as they are, whole fragments included. A content that several layers
or files share (same digest, same size) is copied once.
"""

import bisect
import errno
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sampan.errors import InternalError
from sampan.images.squashfs.layout import FRAGMENT
from sampan.model.layer import BLOCK_SIZE, NO_FRAGMENT, UNCOMPRESSED, Content, PackIndex

_SIZE_MASK = UNCOMPRESSED - 1
_PAGE = 4096
_WORTH_SHARING = 1 << 20
"""Ranges from this size on are placed so that a file system with reflinks can share them."""
_COPY_AT_ONCE = 1 << 30
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

    stored: dict[tuple[int, int], Stored]
    fragments: list[bytes]
    copies: list[Copy]
    end: int


def place_contents(
    layers: Sequence[LayerData], live: Sequence[tuple[int, int]], start: int
) -> Contents:
    """Decide where the live contents of all layers lie in the image.

    Args:
        layers: lowest first.
        live: (layer number, content number) of every file in the tree, in any order.
        start: position inside the image where data begins.
    """
    chosen: dict[tuple[bytes, int], tuple[int, int]] = {}
    aliases: dict[tuple[int, int], tuple[int, int]] = {}
    for key in sorted(set(live)):
        content = layers[key[0]].pack.contents[key[1]]
        aliases[key] = chosen.setdefault((content.digest, content.size), key)
    used: list[list[Content]] = [[] for _ in layers]
    for number, content_number in chosen.values():
        used[number].append(layers[number].pack.contents[content_number])
    # 40 MB for an image of 350,000 files.
    del chosen

    position = start
    moves: list[_Moves] = []
    fragment_numbers: list[dict[int, int]] = []
    fragments: list[bytes] = []
    for layer, contents in zip(layers, used, strict=True):
        pack = layer.pack
        live_fragments = sorted(
            {content.fragment for content in contents if content.fragment != NO_FRAGMENT}
        )
        ranges = [_stored_range(content) for content in contents if content.blocks]
        for number in live_fragments:
            fragment = pack.fragments[number]
            ranges.append((fragment.start, fragment.start + (fragment.size & _SIZE_MASK)))
        moved = _Moves(_merge(ranges), position)
        position = moved.end
        moves.append(moved)
        numbers = {}
        for number in live_fragments:
            fragment = pack.fragments[number]
            numbers[number] = len(fragments)
            fragments.append(FRAGMENT.pack(moved.new_place(fragment.start), fragment.size, 0))
        fragment_numbers.append(numbers)

    stored: dict[tuple[int, int], Stored] = {}
    for key, canonical in aliases.items():
        if canonical not in stored:
            number, content_number = canonical
            content = layers[number].pack.contents[content_number]
            fragment_number = NO_FRAGMENT
            if content.fragment != NO_FRAGMENT:
                fragment_number = fragment_numbers[number][content.fragment]
            has_bytes = content.blocks and any(content.blocks)
            stored[canonical] = Stored(
                content.size,
                moves[number].new_place(content.start) if has_bytes else 0,
                content.blocks,
                _holes(content),
                fragment_number,
                content.fragment_offset,
            )
        stored[key] = stored[canonical]
    copies = [
        Copy(number, begin, end, place)
        for number, moved in enumerate(moves)
        for (begin, end), place in zip(moved.ranges, moved.places, strict=True)
    ]
    return Contents(stored, fragments, copies, position)


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


def _stored_range(content: Content) -> tuple[int, int]:
    size = sum([word & _SIZE_MASK for word in content.blocks])
    return content.start, content.start + size


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


def _holes(content: Content) -> int:
    blocks = content.blocks
    if 0 not in blocks:
        return 0
    holes = sum([BLOCK_SIZE for word in blocks if not word])
    excess = len(blocks) * BLOCK_SIZE - content.size
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
