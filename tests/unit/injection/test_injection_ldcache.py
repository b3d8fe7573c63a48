"""The loader cache is read in all its forms, written in one, and sorted as glibc searches it."""

import contextlib
import functools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.injection.ldcache import compare_names, merge_loader_cache, render_loader_cache
from sampan.model.ldcache import (
    HWCAP_EXTENSION,
    NEW_MAGIC,
    OLD_MAGIC,
    LoaderCache,
    LoaderCacheError,
    LoaderEntry,
    parse_loader_cache,
)

X86 = 0x0303
names = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"\0", b"0"))
hwcap_names = st.lists(st.sampled_from([b"x86-64-v2", b"x86-64-v3", b"x86-64-v4"]), unique=True)


@st.composite
def caches(draw: st.DrawFn) -> LoaderCache:
    hwcaps = tuple(sorted(draw(hwcap_names)))
    plain = st.integers(0, (1 << 62) - 1)
    extended = st.integers(0, max(0, len(hwcaps) - 1)).map(lambda place: HWCAP_EXTENSION | place)
    entry = st.builds(
        LoaderEntry,
        names,
        names,
        st.integers(-(1 << 31), (1 << 31) - 1),
        st.integers(0, (1 << 32) - 1),
        st.one_of(plain, extended) if hwcaps else plain,
    )
    return LoaderCache(tuple(draw(st.lists(entry, max_size=12))), hwcaps, draw(st.booleans()))


@given(caches())
def test_what_is_written_is_read_again(cache: LoaderCache) -> None:
    assert parse_loader_cache(render_loader_cache(cache)) == cache


@given(caches())
def test_a_cache_behind_the_old_table_is_read(cache: LoaderCache) -> None:
    new = render_loader_cache(cache)
    old = OLD_MAGIC + b"\0" + struct.pack("<I", 1) + struct.pack("<iII", X86, 0, 0)
    padded = old.ljust((len(old) + 7) & ~7, b"\0")
    assert parse_loader_cache(padded + new) == cache


def test_the_old_table_alone_is_read() -> None:
    strings = b"libc.so.6\0/lib/libc.so.6\0"
    content = OLD_MAGIC + b"\0" + struct.pack("<I", 1) + struct.pack("<iII", 3, 0, 10) + strings
    (entry,) = parse_loader_cache(content).entries
    assert entry == LoaderEntry(b"libc.so.6", b"/lib/libc.so.6", 3)


def test_caches_from_before_the_byte_order_was_noted_are_read() -> None:
    for big_endian in (False, True):
        cache = LoaderCache((LoaderEntry(b"liba.so.1", b"/lib/liba.so.1", X86),), (), big_endian)
        content = bytearray(render_loader_cache(cache))
        content[28] = 0
        assert parse_loader_cache(bytes(content)) == cache


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"something else",
        NEW_MAGIC,
        NEW_MAGIC + b"\xff" * 28,
        NEW_MAGIC + struct.pack("<IIB3xI12x", 1, 0, 2, 0) + struct.pack("<iIIIQ", 3, 9999, 0, 0, 0),
        NEW_MAGIC + struct.pack("<IIB3xI12x", 0, 0, 2, 4000),
        OLD_MAGIC,
        OLD_MAGIC + b"\0\xff\xff\xff\xff",
    ],
)
def test_hostile_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(LoaderCacheError):
        parse_loader_cache(content)


@settings(max_examples=300)
@given(caches(), st.data())
def test_damaged_bytes_are_refused_or_read_but_never_worse(
    cache: LoaderCache, data: st.DataObject
) -> None:
    content = bytearray(render_loader_cache(cache))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(20, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(LoaderCacheError):
        parse_loader_cache(bytes(content[: data.draw(st.integers(0, len(content)))]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"libfoo.so.10", b"libfoo.so.9"),
        (b"libfoo.so.2", b"libfoo.so.01"),
        (b"libfoo1", b"libfoox"),
        (b"libfoo.so.1", b"libfoo.so"),
        (b"libb", b"liba"),
        (b"1", b"a"),
        (b"a1", b"a"),
    ],
)
def test_names_order_as_in_glibc(first: bytes, second: bytes) -> None:
    assert compare_names(first, second) > 0
    assert compare_names(second, first) < 0


def test_names_that_differ_in_leading_zeros_are_equal() -> None:
    assert compare_names(b"liba.so.01", b"liba.so.1") == 0


def test_characters_above_ascii_order_by_the_machines_char() -> None:
    assert compare_names(b"lib\xe9", b"lib", signed_characters=True) < 0
    assert compare_names(b"lib\xe9", b"lib", signed_characters=False) > 0


def is_sorted(cache: LoaderCache) -> bool:
    pairs = zip(cache.entries, cache.entries[1:], strict=False)
    return all(compare_names(first.name, second.name) >= 0 for first, second in pairs)


sonames = st.sampled_from(
    [b"libcuda.so.1", b"libcuda.so", b"libc.so.6", b"libz.so.1", b"libnvidia-ml.so.1", b"libm.so.6",
     b"libfoo.so.10", b"libfoo.so.9"]
)  # fmt: skip


@given(st.lists(sonames), st.lists(sonames, unique=True))
def test_merging_keeps_the_order_and_puts_the_driver_in_the_place_of_its_namesakes(
    image_names: list[bytes], driver_names: list[bytes]
) -> None:
    ordered = sorted(image_names, key=functools.cmp_to_key(compare_names), reverse=True)
    image = LoaderCache(tuple(LoaderEntry(name, b"/image/" + name, X86) for name in ordered))
    driver = [LoaderEntry(name, b"/driver/" + name, X86) for name in driver_names]
    merged = merge_loader_cache(image, driver)
    assert is_sorted(merged)
    assert {entry for entry in merged.entries if entry.path.startswith(b"/driver/")} == set(driver)
    kept = [entry for entry in image.entries if entry.name not in driver_names]
    assert [entry for entry in merged.entries if entry.path.startswith(b"/image/")] == kept


def test_a_namesake_of_another_abi_or_a_better_cpu_is_handled() -> None:
    image = LoaderCache(
        (
            LoaderEntry(b"libcuda.so.1", b"/v3/libcuda.so.1", X86, 0, HWCAP_EXTENSION),
            LoaderEntry(b"libcuda.so.1", b"/i386/libcuda.so.1", 3),
        ),
        (b"x86-64-v3",),
    )
    merged = merge_loader_cache(image, [LoaderEntry(b"libcuda.so.1", b"/driver", X86)])
    assert [entry.path for entry in merged.entries] == [b"/driver", b"/i386/libcuda.so.1"]


def test_of_two_driver_entries_of_one_name_the_first_counts() -> None:
    entries = [LoaderEntry(b"libcuda.so.1", path, X86) for path in (b"/compat", b"/driver")]
    assert merge_loader_cache(LoaderCache(()), entries).entries == (entries[0],)
