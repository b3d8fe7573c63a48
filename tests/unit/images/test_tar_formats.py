"""Every dialect of tar that writes layers is read as its own writer meant it."""

import base64
import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.images.tar_member import TarMember
from sampan.model.layer import EntryKind
from support.tars import END, base256, gnu_long, header, member, padded, pax, read_tar

SECOND = 1_000_000_000


def members(tar: bytes) -> list[TarMember]:
    return list(read_tar(io.BytesIO(tar), layer="test"))


def only(tar: bytes) -> TarMember:
    (found,) = members(tar)
    return found


def contents(tar: bytes) -> dict[bytes, bytes]:
    """Content of every file that is not sparse, read in the order of the tar."""
    reader = read_tar(io.BytesIO(tar), layer="test")
    return {found.path: reader.read(found.size) for found in reader}


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and ".wh." not in name and len(name.encode()) < 250)
PATHS = st.lists(NAMES, min_size=1, max_size=8).map("/".join)


@st.composite
def tar_infos(draw: Any, times: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(PATHS))
    info.mode = draw(st.integers(0, 0o7777))
    info.uid = draw(st.integers(0, 2**32 - 1))
    info.gid = draw(st.integers(0, 2**32 - 1))
    info.mtime = draw(times)
    content = b""
    info.type = draw(
        st.sampled_from(
            (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
        )
    )
    if info.type == tarfile.REGTYPE:
        content = draw(st.binary(max_size=2000))
        info.size = len(content)
    elif info.type == tarfile.SYMTYPE:
        info.linkname = draw(PATHS)
    elif info.type == tarfile.CHRTYPE:
        info.devmajor, info.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, 99999))
    return info, content


def check_against_tarfile(infos: list[tuple[tarfile.TarInfo, bytes]], dialect: int) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=dialect) as archive:
        for info, content in infos:
            archive.addfile(info, io.BytesIO(content))
    reader = read_tar(io.BytesIO(stream.getvalue()), layer="test")
    for (info, content), found in zip(infos, reader, strict=True):
        assert found.path == info.name.encode()
        assert (found.mode, found.uid, found.gid) == (info.mode, info.uid, info.gid)
        assert abs(found.mtime - info.mtime * SECOND) < SECOND // 1000
        assert found.size == len(content)
        assert reader.read(found.size) == content
        if info.type == tarfile.SYMTYPE:
            assert found.link == info.linkname.encode()
        if info.type == tarfile.CHRTYPE:
            assert found.device == (info.devmajor, info.devminor)


@given(st.lists(tar_infos(st.integers(-(2**33), 2**33)), max_size=6))
@settings(deadline=None, max_examples=150)
def test_whatever_python_writes_in_pax_format_is_read_back(
    infos: list[tuple[tarfile.TarInfo, bytes]],
) -> None:
    check_against_tarfile(infos, tarfile.PAX_FORMAT)


@given(st.lists(tar_infos(st.integers(-(2**33), 2**33)), max_size=6))
@settings(deadline=None, max_examples=150)
def test_whatever_python_writes_in_gnu_format_is_read_back(
    infos: list[tuple[tarfile.TarInfo, bytes]],
) -> None:
    check_against_tarfile(infos, tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        (b"1700000000.123456789", 1_700_000_000_123_456_789),
        (b"-1.5", -1_500_000_000),
        (b"-0.000000001", -1),
        (b"7", 7 * SECOND),
        (b"1.12345678987654321", 1_123_456_789),
    ],
)
def test_pax_times_keep_their_nanoseconds(written: bytes, nanoseconds: int) -> None:
    found = only(pax([(b"mtime", written)]) + member(b"f") + END)
    assert found.mtime == nanoseconds


def test_times_before_1970_and_sizes_beyond_octal_come_as_base_256() -> None:
    found = only(member(b"f", mtime=base256(-86400, 12), uid=base256(3_000_000_000, 8)) + END)
    assert found.mtime == -86400 * SECOND
    assert found.uid == 3_000_000_000


def test_a_size_over_eight_gibibytes_is_understood_before_its_content_comes() -> None:
    for start in (
        header(b"big", size=base256(9 << 30, 12)),
        pax([(b"size", b"%d" % (9 << 30))]) + header(b"big"),
    ):
        assert next(iter(read_tar(io.BytesIO(start), layer="test"))).size == 9 << 30


def test_names_need_not_be_utf8() -> None:
    assert only(member(b"caf\xe9/\xff\xfe") + END).path == b"caf\xe9/\xff\xfe"
    assert only(pax([(b"path", b"\xff")]) + member(b"x") + END).path == b"\xff"


def test_gnu_long_names_and_links_replace_the_short_ones() -> None:
    name, link = b"n" * 99 + b"/" + b"m" * 120, b"t" * 300
    tar = gnu_long(b"K", link) + gnu_long(b"L", name) + member(b"short", kind=b"2", link=b"s")
    found = only(tar + END)
    assert (found.path, found.link) == (name, link)


def test_a_ustar_prefix_is_put_before_the_name_but_not_in_gnu_headers() -> None:
    assert only(member(b"name", prefix=b"a/b") + END).path == b"a/b/name"
    times_of_gnu = member(b"name", prefix=b"00000000000", magic=b"ustar  \0")
    assert only(times_of_gnu + END).path == b"name"
    star = member(b"name", prefix=b"a" + bytes(130) + b"00000000000 ", patches={508: b"tar\0"})
    assert only(star + END).path == b"a/name"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (b"./", b""),
        (b"/", b""),
        (b".", b""),
        (b"/etc/", b"etc"),
        (b"./usr//lib/./x/", b"usr/lib/x"),
    ],
)
def test_directory_names_are_normalised(written: bytes, path: bytes) -> None:
    assert only(member(written, kind=b"5") + END).path == path


def test_a_file_whose_name_ends_in_a_slash_is_a_directory_of_old() -> None:
    tar = member(b"old/", b"junk", kind=b"\0", magic=b"\0" * 8) + member(b"next", b"data")
    first, second = members(tar + END)
    assert first.kind == EntryKind.DIRECTORY
    assert first.path == b"old"
    assert second.path == b"next"


def test_contiguous_files_are_files_and_volume_labels_are_nothing() -> None:
    tar = member(b"tape", kind=b"V") + member(b"c", b"content", kind=b"7") + END
    assert contents(tar) == {b"c": b"content"}


def test_global_headers_hold_until_they_are_taken_back() -> None:
    tar = (
        pax([(b"uid", b"1000")], kind=b"g")
        + member(b"a")
        + pax([(b"uid", b"7")])
        + member(b"b")
        + member(b"c")
        + pax([(b"uid", b"")], kind=b"g")
        + member(b"d", uid=5)
    )
    assert [found.uid for found in members(tar + END)] == [1000, 7, 1000, 5]


def test_extended_attributes_come_in_both_spellings_sorted() -> None:
    capability = b"\x01\x00\x00\x02\x00 \x00\x00" + bytes(12)
    tar = pax(
        [
            (b"SCHILY.xattr.user.z", b"with=equals\nand newline"),
            (b"SCHILY.xattr.user.empty", b""),
            (b"SCHILY.xattr.security.capability", capability),
            (b"LIBARCHIVE.xattr.user.a%20b", base64.b64encode(b"\0bin").rstrip(b"=")),
        ]
    )
    assert only(tar + member(b"f") + END).xattrs == (
        (b"security.capability", capability),
        (b"user.a b", b"\0bin"),
        (b"user.empty", b""),
        (b"user.z", b"with=equals\nand newline"),
    )


def test_an_image_cannot_give_orders_to_the_overlay_file_system() -> None:
    tar = pax(
        [
            (b"SCHILY.xattr.trusted.overlay.redirect", b"/secret"),
            (b"SCHILY.xattr.user.overlay.opaque", b"y"),
            (b"SCHILY.xattr.user.kept", b"1"),
        ]
    )
    assert only(tar + member(b"d", kind=b"5") + END).xattrs == ((b"user.kept", b"1"),)


def test_devices_and_fifos_keep_their_numbers() -> None:
    tar = (
        member(b"null", kind=b"3", major=1, minor=3)
        + member(b"sda", kind=b"4", major=8, minor=70000)
        + member(b"pipe", kind=b"6")
    )
    null, disk, pipe = members(tar + END)
    assert (null.kind, null.device) == (EntryKind.CHARACTER_DEVICE, (1, 3))
    assert (disk.kind, disk.device) == (EntryKind.BLOCK_DEVICE, (8, 70000))
    assert pipe.kind == EntryKind.FIFO


def test_links_have_no_content_whatever_their_size_says() -> None:
    tar = header(b"h", kind=b"1", size=700, link=b"/a/./b") + member(b"f", b"content")
    link, file = members(tar + END)
    assert (link.kind, link.link, link.size) == (EntryKind.HARD_LINK, b"a/b", 0)
    assert file.path == b"f"


def test_a_hard_link_to_itself_changes_nothing() -> None:
    tar = member(b"f", b"1") + header(b"./f", kind=b"1", link=b"f") + END
    assert contents(tar) == {b"f": b"1"}


def test_symlinks_keep_their_target_as_written() -> None:
    target = b"../..//somewhere/./"
    assert only(member(b"s", kind=b"2", link=target) + END).link == target


def test_whiteouts_speak_of_the_path_they_hide() -> None:
    tar = member(b"etc/.wh.motd") + member(b"opt/.wh..wh..opq") + member(b".wh..wh..opq")
    assert [(found.kind, found.path) for found in members(tar + END)] == [
        (EntryKind.WHITEOUT, b"etc/motd"),
        (EntryKind.OPAQUE, b"opt"),
        (EntryKind.OPAQUE, b""),
    ]


def test_what_aufs_kept_for_itself_is_left_out() -> None:
    tar = (
        member(b".wh..wh.plnk", kind=b"5")
        + member(b".wh..wh.plnk/123.4", b"x")
        + member(b".wh..wh.aufs", b"y")
        + member(b"not.wh.a.whiteout", b"z")
    )
    assert contents(tar + END) == {b"not.wh.a.whiteout": b"z"}


def test_duplicates_are_all_given_in_their_order() -> None:
    tar = member(b"f", b"1") + member(b"f", b"22") + END
    assert [found.size for found in members(tar)] == [1, 2]


SEGMENTS = ((512, 5), (100_000, 3))
STORED = b"helloend"


def old_gnu_sparse() -> bytes:
    block = b"".join(b"%011o\0%011o\0" % pair for pair in SEGMENTS)
    return header(
        b"s",
        kind=b"S",
        size=len(STORED),
        magic=b"ustar  \0",
        patches={386: block, 483: b"%011o\0" % 200_000},
    ) + padded(STORED)


def pax_sparse_0_0() -> bytes:
    pairs = [
        record
        for start, length in SEGMENTS
        for record in (
            (b"GNU.sparse.offset", b"%d" % start),
            (b"GNU.sparse.numbytes", b"%d" % length),
        )
    ]
    head = [(b"GNU.sparse.size", b"200000"), (b"GNU.sparse.numblocks", b"2")]
    return pax(head + pairs) + member(b"s", STORED)


def pax_sparse_0_1() -> bytes:
    numbers = b",".join(b"%d,%d" % pair for pair in SEGMENTS)
    records = [
        (b"GNU.sparse.size", b"200000"),
        (b"GNU.sparse.numblocks", b"2"),
        (b"GNU.sparse.map", numbers),
        (b"GNU.sparse.name", b"s"),
    ]
    return pax(records) + member(b"GNUSparseFile.1/s", STORED)


def pax_sparse_1_0() -> bytes:
    numbers = b"2\n" + b"".join(b"%d\n%d\n" % pair for pair in SEGMENTS)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", b"200000"),
    ]
    return pax(records) + member(b"GNUSparseFile.1/s", padded(numbers) + STORED)


@pytest.mark.parametrize("write", [old_gnu_sparse, pax_sparse_0_0, pax_sparse_0_1, pax_sparse_1_0])
def test_all_four_ways_to_write_a_sparse_file_mean_the_same(write: Any) -> None:
    reader = iter(tar := read_tar(io.BytesIO(write() + member(b"next") + END), layer="test"))
    found = next(reader)
    assert (found.path, found.size, found.segments) == (b"s", 200_000, SEGMENTS)
    assert tar.read(len(STORED)) == STORED
    assert next(reader).path == b"next"


def test_old_sparse_maps_go_on_in_extension_blocks() -> None:
    segments = [(i * 1000, 1) for i in range(30)]
    pairs = [b"%011o\0%011o\0" % pair for pair in segments]
    first = header(
        b"s",
        kind=b"S",
        size=30,
        magic=b"ustar  \0",
        patches={386: b"".join(pairs[:4]), 482: b"\1", 483: b"%011o\0" % 40_000},
    )
    second = b"".join(pairs[4:25]) + b"\1" + bytes(7)
    third = padded(b"".join(pairs[25:]))
    found = only(first + second + third + padded(b"x" * 30) + END)
    assert found.segments == tuple(segments)


def test_a_map_that_does_not_fit_one_block_is_read_on() -> None:
    segments = [(i * 1_000_000, 1) for i in range(300)]
    numbers = b"300\n" + b"".join(b"%d\n%d\n" % pair for pair in segments)
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", b"300000000"),
    ]
    found = only(pax(records) + member(b"x", padded(numbers) + b"y" * 300) + END)
    assert found.segments == tuple(segments)


def test_a_tar_without_end_marker_is_complete_between_two_members() -> None:
    assert contents(member(b"f", b"1")) == {b"f": b"1"}
    assert contents(member(b"f", b"1") + bytes(512)) == {b"f": b"1"}


def test_the_last_padding_may_be_missing_with_the_end_marker() -> None:
    assert contents(member(b"f", b"1")[: 512 + 1]) == {b"f": b"1"}
    assert contents(member(b"f", b"1")[:-1]) == {b"f": b"1"}


def test_any_number_of_zeros_may_follow_the_end_marker() -> None:
    assert contents(member(b"f", b"1") + END + bytes(10_240 + 77)) == {b"f": b"1"}


def test_signed_checksums_of_old_writers_are_accepted() -> None:
    block = bytearray(header(b"\xe9t\xe9"))
    blank = bytes(block[:148]) + b" " * 8 + bytes(block[156:])
    block[148:156] = b"%06o\0 " % sum(byte - 256 if byte > 127 else byte for byte in blank)
    assert only(bytes(block) + END).path == b"\xe9t\xe9"


def test_unread_content_is_skipped() -> None:
    tar = member(b"a", b"x" * 3_000_000) + member(b"b", b"y")
    assert [found.path for found in members(tar + END)] == [b"a", b"b"]


def test_times_that_no_file_system_holds_become_the_last_that_one_does() -> None:
    assert only(member(b"f", mtime=base256(1 << 60, 12)) + END).mtime == (1 << 63) - 1
