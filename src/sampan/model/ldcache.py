"""glibc's loader cache, ``/etc/ld.so.cache``: its records and the reader of its bytes.

Both the driver search (the host's cache) and the import plan (the image's cache) read it, so it
lies here; writing and merging belong to ``injection/ldcache.py``. The layout is that of glibc's
``sysdeps/generic/dl-cache.h``: format ``glibc-ld.so.cache1.1`` of either byte order, alone or
behind the older ``ld.so-1.7.0`` table, with the extension section that names glibc-hwcaps.
"""

import struct
from typing import NamedTuple

OLD_MAGIC = b"ld.so-1.7.0"
NEW_MAGIC = b"glibc-ld.so.cache1.1"
HEADER_BYTES = 48
ENTRY_BYTES = 24
EXTENSION_MAGIC = 0xEAA42174
TAG_GLIBC_HWCAPS = 1
HWCAP_EXTENSION = 1 << 62
"""Bit of ``hwcap`` which says that its low 32 bits number a glibc-hwcaps name."""

FLAGS_BY_MACHINE: dict[str, int] = {"x86_64": 0x0303, "aarch64": 0x0A03, "i386": 0x0003}
"""Flags of a libc6 ELF library: FLAG_ELF_LIBC6 with the architecture's required bits."""

MAXIMUM_BYTES = 64 << 20
MAXIMUM_ENTRIES = 500_000
MAXIMUM_NAME_BYTES = 4096
MAXIMUM_TEXT_FACTOR = 16
"""Bytes of text for each byte of the file; ldconfig's own caches have less than one."""
MAXIMUM_HWCAPS = 4096


class LoaderCacheError(ValueError):
    """The bytes are no loader cache, or contradict themselves."""


class LoaderEntry(NamedTuple):
    """One line of ``ldconfig -p``.

    Attributes:
        name: the SONAME that programs ask for.
        path: where the loader opens it.
        flags: ABI word, see FLAGS_BY_MACHINE.
        osversion: lowest kernel of old entries, otherwise 0.
        hwcap: legacy capability mask; with HWCAP_EXTENSION a number into ``LoaderCache.hwcaps``
            (low 32 bits) and the ISA level (next bits).
    """

    name: bytes
    path: bytes
    flags: int
    osversion: int = 0
    hwcap: int = 0


class LoaderCache(NamedTuple):
    """A loader cache.

    Attributes:
        entries: in the file's order, which is the loader's order of preference for equal names.
        hwcaps: glibc-hwcaps subdirectory names, e.g. ``x86-64-v3``.
        big_endian: byte order of the numbers.
    """

    entries: tuple[LoaderEntry, ...]
    hwcaps: tuple[bytes, ...] = ()
    big_endian: bool = False


def parse_loader_cache(content: bytes) -> LoaderCache:
    """Read a loader cache; ``content`` may be hostile, work and memory stay bounded by its size.

    Raises:
        LoaderCacheError: unknown magic, a number that points outside, more than 64 MiB.
    """
    if len(content) > MAXIMUM_BYTES:
        raise LoaderCacheError(f"{len(content)} bytes are more than {MAXIMUM_BYTES}")
    if content.startswith(NEW_MAGIC):
        return _parse_new(content)
    if content.startswith(OLD_MAGIC):
        return _parse_old(content)
    raise LoaderCacheError(f"unknown magic {content[:20]!r}")


def _parse_old(content: bytes) -> LoaderCache:
    if len(content) < 16:
        raise LoaderCacheError("the old header is cut off")
    for order in "<>":
        (libraries,) = struct.unpack_from(f"{order}I", content, 12)
        if libraries <= MAXIMUM_ENTRIES and 16 + 12 * libraries <= len(content):
            break
    else:
        raise LoaderCacheError("the old table points outside")
    end = 16 + 12 * libraries
    for start in ((end + 7) & ~7, (end + 3) & ~3):
        if content.startswith(NEW_MAGIC, start):
            return _parse_new(content[start:])
    strings = _Strings(content, end)
    entries = tuple(
        LoaderEntry(strings.read(key), strings.read(value), flags)
        for flags, key, value in struct.iter_unpack(f"{order}iII", content[16:end])
    )
    return LoaderCache(entries, big_endian=order == ">")


def _parse_new(content: bytes) -> LoaderCache:
    if len(content) < HEADER_BYTES:
        raise LoaderCacheError("the header is cut off")
    order = _byte_order(content)
    libraries, _, _, extensions = struct.unpack_from(f"{order}IIB3xI", content, len(NEW_MAGIC))
    end = HEADER_BYTES + ENTRY_BYTES * libraries
    if libraries > MAXIMUM_ENTRIES or end > len(content):
        raise LoaderCacheError(f"{libraries} entries do not fit into {len(content)} bytes")
    strings = _Strings(content, 0)
    entries = tuple(
        LoaderEntry(strings.read(key), strings.read(value), flags, osversion, hwcap)
        for flags, key, value, osversion, hwcap in struct.iter_unpack(
            f"{order}iIIIQ", content[HEADER_BYTES:end]
        )
    )
    hwcaps = _parse_hwcaps(content, order, extensions, strings) if extensions else ()
    return LoaderCache(entries, hwcaps, big_endian=order == ">")


def _byte_order(content: bytes) -> str:
    # Byte 28 says it since glibc 2.33 (2 little, 3 big); before, the number of entries decides:
    # read in the wrong order it would be absurd.
    said = content[28] & 3
    if said in (2, 3):
        return "<" if said == 2 else ">"
    (libraries,) = struct.unpack_from("<I", content, len(NEW_MAGIC))
    return "<" if HEADER_BYTES + ENTRY_BYTES * libraries <= len(content) else ">"


def _parse_hwcaps(
    content: bytes, order: str, offset: int, strings: "_Strings"
) -> tuple[bytes, ...]:
    if offset + 8 > len(content):
        raise LoaderCacheError("the extension directory lies outside")
    magic, sections = struct.unpack_from(f"{order}II", content, offset)
    if magic != EXTENSION_MAGIC:
        return ()
    if offset + 8 + 16 * sections > len(content):
        raise LoaderCacheError(f"{sections} extension sections do not fit")
    for number in range(sections):
        tag, _, start, size = struct.unpack_from(f"{order}IIII", content, offset + 8 + 16 * number)
        if tag != TAG_GLIBC_HWCAPS:
            continue
        if start + size > len(content) or size % 4:
            raise LoaderCacheError("the glibc-hwcaps section lies outside")
        if size > 4 * MAXIMUM_HWCAPS:
            raise LoaderCacheError(f"{size // 4} glibc-hwcaps names")
        places = struct.unpack_from(f"{order}{size // 4}I", content, start)
        return tuple(strings.read(place) for place in places)
    return ()


class _Strings:
    """NUL-terminated strings at offsets from ``base``, each read once.

    Strings may share their ends. A file in which all of them do would stand for gigabytes, in memory
    and in the cache that is made of it, so what they are together is bounded.
    """

    def __init__(self, content: bytes, base: int) -> None:
        self._content = content
        self._base = base
        self._room = MAXIMUM_TEXT_FACTOR * len(content)
        self._known: dict[int, bytes] = {}

    def read(self, offset: int) -> bytes:
        known = self._known.get(offset)
        if known is not None:
            return known
        start = self._base + offset
        end = self._content.find(b"\0", start, start + MAXIMUM_NAME_BYTES)
        if start >= len(self._content) or end < 0:
            raise LoaderCacheError(f"no string ends within reach of offset {offset}")
        self._room -= end - start
        if self._room < 0:
            raise LoaderCacheError("its strings overlap without measure")
        found = self._known[offset] = self._content[start:end]
        return found
