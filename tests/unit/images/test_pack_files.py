"""The index file gives back what was written, and says so when it cannot."""

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.images.pack_file import PackData, PackError, dump_index, load_index
from sampan.model.layer import (
    BLOCK_SIZE,
    NO_FRAGMENT,
    Content,
    Entry,
    EntryKind,
    Fragment,
    PackIndex,
)
from support.tars import Packed, python_tar

WORD = st.integers(0, 2**32 - 1)
LONG = st.integers(0, 2**63)
NAME = st.binary(max_size=30).map(lambda name: name.replace(b"\0", b"?"))
LINKS = (EntryKind.SYMLINK, EntryKind.HARD_LINK)
NODES = (EntryKind.BLOCK_DEVICE, EntryKind.CHARACTER_DEVICE)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(EntryKind))
    return Entry(
        path=draw(NAME),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(WORD),
        gid=draw(WORD),
        mtime=draw(st.integers(-(2**63) + 1, 2**63 - 1)),
        link=draw(NAME) if kind in LINKS else b"",
        device=draw(st.tuples(st.integers(0, 4095), st.integers(0, 2**20)))
        if kind in NODES
        else (0, 0),
        xattrs=draw(
            st.sampled_from(
                [(), ((b"user.a", b""),), ((b"security.capability", b"\0\1"), (b"user.b", b"\0"))]
            )
        ),
        content=draw(st.integers(-1, 2**31 - 1)),
    )


CONTENTS = st.builds(
    Content,
    size=LONG,
    start=LONG,
    blocks=st.lists(WORD, max_size=5).map(tuple),
    fragment=st.one_of(st.just(NO_FRAGMENT), WORD),
    fragment_offset=WORD,
    digest=st.binary(min_size=16, max_size=16),
)
INDICES = st.builds(
    PackIndex,
    compression=st.sampled_from(["zstd", "gzip"]),
    digest=st.just("sha256:" + "a" * 64),
    diff_id=st.just("sha256:" + "b" * 64),
    tar_size=LONG,
    data_size=LONG,
    entries=st.lists(entries(), max_size=8),
    contents=st.lists(CONTENTS, max_size=5),
    fragments=st.lists(st.builds(Fragment, start=LONG, size=WORD), max_size=5),
)


@given(INDICES)
@settings(deadline=None, max_examples=200)
def test_an_index_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, index: PackIndex
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.index"
    path.write_bytes(dump_index(index))
    assert load_index(path) == index


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    files = [("small", b"s" * 1000), ("big", bytes(range(256)) * 2000), ("other", b"o" * 999)]
    return Packed(tmp_path_factory.mktemp("packed"), python_tar(*files))


def test_any_truncated_or_changed_index_is_refused_by_name(packed: Packed, tmp_path: Path) -> None:
    good = packed.index_path.read_bytes()
    path = tmp_path / "bad.index"
    for bad in (
        *(good[:cut] for cut in range(len(good))),
        *(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :] for at in range(len(good))),
        good + b"x",
    ):
        path.write_bytes(bad)
        with pytest.raises(PackError) as caught:
            load_index(path)
        assert str(path) in caught.value.evidence
        assert "import the image again" in caught.value.remedy


def test_an_index_of_the_future_is_told_from_a_damaged_one(packed: Packed, tmp_path: Path) -> None:
    data = bytearray(packed.index_path.read_bytes())
    data[8:12] = (99).to_bytes(4, "little")
    (tmp_path / "new.index").write_bytes(data)
    with pytest.raises(PackError, match="another version"):
        load_index(tmp_path / "new.index")


def test_a_body_with_a_right_checksum_but_no_columns_is_refused(tmp_path: Path) -> None:
    for body in (b"", b"garbage"):
        head = struct.pack("<8sIIQ", b"SAMPANPK", 1, zlib.crc32(body), len(body))
        (tmp_path / "i").write_bytes(head + body)
        with pytest.raises(PackError):
            load_index(tmp_path / "i")


@pytest.mark.parametrize(
    ("offset", "limit"),
    [
        (0, None),
        (0, 10),
        (5, 0),
        (BLOCK_SIZE - 1, 2),
        (BLOCK_SIZE, BLOCK_SIZE),
        (3 * BLOCK_SIZE + 7, None),
        (511_999, 5),
        (600_000, None),
    ],
)
def test_any_part_of_a_content_can_be_read(packed: Packed, offset: int, limit: int | None) -> None:
    whole = bytes(range(256)) * 2000
    content = packed.index.contents[packed.entries[b"big"].content]
    end = len(whole) if limit is None else offset + limit
    with PackData(packed.index, packed.data_path) as data:
        assert data.read_content(content, offset, limit) == whole[offset:end]


def test_truncated_or_damaged_data_are_refused(packed: Packed, tmp_path: Path) -> None:
    content = packed.index.contents[packed.entries[b"big"].content]
    good = packed.data_path.read_bytes()
    for bad in (good[: content.start + 10], good[: content.start] + bytes(len(good))):
        (tmp_path / "p").write_bytes(bad)
        with (
            PackData(packed.index, tmp_path / "p") as data,
            pytest.raises(PackError, match="damaged"),
        ):
            data.read_content(content)


def test_a_hundred_thousand_entries_survive(tmp_path: Path) -> None:
    shared = ((b"user.a", b"b"),)
    index = PackIndex(
        "zstd", "sha256:a", "sha256:b", 1, 2,
        [
            Entry(b"dir/%d" % i, EntryKind.FILE, 0o644, i, 0, i, b"", (0, 0), shared, i)
            for i in range(100_000)
        ],
        [Content(i, 0, (), 0, i, i.to_bytes(16, "big")) for i in range(100_000)],
        [],
    )  # fmt: skip
    (tmp_path / "i").write_bytes(dump_index(index))
    assert load_index(tmp_path / "i") == index
