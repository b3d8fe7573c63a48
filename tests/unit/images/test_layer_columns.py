"""Entries and contents as columns: the same records as before, in a fraction of the memory."""

import tracemalloc
from pathlib import Path

import pytest

from sampan.images.layer_columns import ContentTable, EntryTable
from sampan.images.link import link_image
from sampan.images.pack_file import dump_index, load_index
from sampan.model.layer import NO_FRAGMENT, Content, Entry, EntryKind, PackIndex

SHARED = ((b"user.a", b"b"),)
ENTRIES = [
    Entry(b"", EntryKind.DIRECTORY, 0o755, 0, 0, 0, b"", (0, 0), (), -1),
    Entry(b"a", EntryKind.FILE, 0o4755, 1, 2**32 - 1, -1, b"", (0, 0), SHARED, 0),
    Entry(b"l", EntryKind.SYMLINK, 0o777, 0, 0, 5, b"a", (0, 0), (), -1),
    Entry(b"e", EntryKind.SYMLINK, 0o777, 0, 0, 5, b"", (0, 0), (), -1),
    Entry(b"n", EntryKind.BLOCK_DEVICE, 0o600, 0, 0, 5, b"", (8, 1), SHARED, -1),
]
CONTENTS = [
    Content(7, 0, (), 0, 3, b"a" * 16),
    Content(300_000, 9, (5, 0, 7), NO_FRAGMENT, 0, b"b" * 16),
    Content(0, 0, (), NO_FRAGMENT, 0, b"c" * 16),
]


def test_a_table_gives_the_records_that_it_was_made_of() -> None:
    entries, contents = EntryTable(ENTRIES), ContentTable(CONTENTS)
    assert entries == ENTRIES
    assert [entries[place] for place in range(len(entries))] == ENTRIES
    assert (entries[-1], entries[1:3]) == (ENTRIES[-1], ENTRIES[1:3])
    assert list(entries.paths()) == [entry.path for entry in ENTRIES]
    assert contents == CONTENTS
    assert (contents[-1], contents[:2]) == (CONTENTS[-1], CONTENTS[:2])
    with pytest.raises(IndexError):
        entries[len(ENTRIES)]


def test_paths_longer_than_what_is_split_at_once_are_found_again() -> None:
    paths = [b"%d/" % number + b"x" * 1000 for number in range(3000)]
    table = EntryTable()
    table.set_paths(b"\0".join(paths), len(paths))
    assert [table.path(place) for place in range(len(paths))] == paths
    with pytest.raises(ValueError, match="3000 paths for 2999 entries"):
        table.set_paths(b"\0".join(paths), len(paths) - 1)


def test_linking_takes_less_than_half_a_kilobyte_a_file(tmp_path: Path) -> None:
    files = 30_000
    pack = PackIndex(
        "zstd", "sha256:a", "sha256:b", 0, 0,
        [
            Entry(b"usr/lib/%03d/file-%06d.py" % (n // 1000, n), EntryKind.FILE, 0o644, 0, 0,
                  1_700_000_000_000_000_000 + n, b"", (0, 0), (), n)
            for n in range(files)
        ],
        [Content(0, 0, (), NO_FRAGMENT, 0, n.to_bytes(16, "little")) for n in range(files)],
        [],
    )  # fmt: skip
    index, data = tmp_path / "a.index", tmp_path / "a.pack"
    index.write_bytes(dump_index(pack))
    data.touch()
    config = b'{"architecture": "amd64", "os": "linux"}'
    # Once before: modules stay.
    link_image([], config, tmp_path / "none.sif", digest="sha256:0")
    tracemalloc.start()
    try:
        link_image([(load_index(index), data)], config, tmp_path / "i.sif", digest="sha256:1")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / files < 500
