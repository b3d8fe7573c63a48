"""Writes glibc's loader cache: the image's entries with the driver's in front of their namesakes.

The reader and the records are in ``model/ldcache.py``. The loader finds a name by binary search
over entries sorted downwards by ``_dl_cache_libcmp`` (glibc elf/dl-cache.c) and takes the first
usable one of equal names, so a place in that order decides which library a program gets.
"""

import struct
from collections.abc import Iterable, Sequence

from sampan.model.ldcache import (
    ENTRY_BYTES,
    EXTENSION_MAGIC,
    HEADER_BYTES,
    NEW_MAGIC,
    TAG_GLIBC_HWCAPS,
    LoaderCache,
    LoaderEntry,
)


def merge_loader_cache(
    image: LoaderCache, driver: Sequence[LoaderEntry], *, signed_characters: bool = True
) -> LoaderCache:
    """The image's cache with ``driver`` entries instead of those of the same name and ABI.

    Args:
        image: entries in the order that the image's own ldconfig wrote them.
        driver: of equal names the first is kept.
        signed_characters: how the image's C compiler takes ``char``: True on x86, False on ARM.
    """
    added: dict[tuple[bytes, int], LoaderEntry] = {}
    for entry in driver:
        added.setdefault((entry.name, entry.flags), entry)
    entries = [entry for entry in image.entries if (entry.name, entry.flags) not in added]
    for entry in added.values():
        entries.insert(_find_place(entries, entry, signed_characters), entry)
    return LoaderCache(tuple(entries), image.hwcaps, image.big_endian)


def _find_place(entries: Sequence[LoaderEntry], entry: LoaderEntry, signed: bool) -> int:
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        order = compare_names(entries[middle].name, entry.name, signed_characters=signed)
        # Downwards by name, then downwards by flags; ours before what it equals.
        if order > 0 or (order == 0 and entries[middle].flags > entry.flags):
            low = middle + 1
        else:
            high = middle
    return low


def compare_names(first: bytes, second: bytes, *, signed_characters: bool = True) -> int:
    """Negative, 0 or positive, as glibc's ``_dl_cache_libcmp``: digit runs count as numbers."""
    place = other = 0
    left, right = first + b"\0", second + b"\0"
    while left[place]:
        here, there = left[place], right[other]
        if 48 <= here <= 57:
            if not 48 <= there <= 57:
                return 1
            end, stop = _end_of_digits(left, place), _end_of_digits(right, other)
            # glibc adds up in an int, which wraps.
            difference = _wrap(int(left[place:end])) - _wrap(int(right[other:stop]))
            if difference:
                return difference
            place, other = end, stop
        elif 48 <= there <= 57:
            return -1
        elif here != there:
            return _character(here, signed_characters) - _character(there, signed_characters)
        else:
            place += 1
            other += 1
    return -_character(right[other], signed_characters)


def _end_of_digits(name: bytes, place: int) -> int:
    while 48 <= name[place] <= 57:
        place += 1
    return place


def _wrap(number: int) -> int:
    return (number + 0x80000000) % 0x100000000 - 0x80000000


def _character(value: int, signed: bool) -> int:
    return value - 256 if signed and value > 127 else value


def render_loader_cache(cache: LoaderCache) -> bytes:
    """Bytes of format ``glibc-ld.so.cache1.1``, entries in the order given."""
    order = ">" if cache.big_endian else "<"
    texts: dict[bytes, int] = {}
    start = HEADER_BYTES + ENTRY_BYTES * len(cache.entries)
    size = start
    names = (text for entry in cache.entries for text in (entry.name, entry.path))
    for text in _chain(names, cache.hwcaps):
        if text not in texts:
            texts[text] = size
            size += len(text) + 1
    extension = _render_hwcaps(cache.hwcaps, texts, order, size) if cache.hwcaps else b""
    pack_entry = struct.Struct(f"{order}iIIIQ").pack
    parts = [
        NEW_MAGIC,
        struct.pack(
            f"{order}IIB3xI12x",
            len(cache.entries),
            size - start,
            3 if cache.big_endian else 2,
            _align(size) if extension else 0,
        ),
        *(
            pack_entry(flags, texts[name], texts[path], osversion, hwcap)
            for name, path, flags, osversion, hwcap in cache.entries
        ),
        *(text + b"\0" for text in texts),
        extension,
    ]
    return b"".join(parts)


def _render_hwcaps(
    hwcaps: Sequence[bytes], texts: dict[bytes, int], order: str, size: int
) -> bytes:
    start = _align(size)
    section = start + 8 + 16
    return b"".join((
        bytes(start - size),
        struct.pack(f"{order}II", EXTENSION_MAGIC, 1),
        struct.pack(f"{order}IIII", TAG_GLIBC_HWCAPS, 0, section, 4 * len(hwcaps)),
        struct.pack(f"{order}{len(hwcaps)}I", *(texts[name] for name in hwcaps)),
    ))  # fmt: skip


def _align(size: int) -> int:
    return (size + 3) & ~3


def _chain(first: Iterable[bytes], second: Iterable[bytes]) -> Iterable[bytes]:
    yield from first
    yield from second
