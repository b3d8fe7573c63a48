"""Layers that lie: each is refused by name, with entry and reason, and leaves nothing visible."""

import gzip
import io
import lzma
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.images.limits import LayerError, Limits
from sampan.images.pack import pack_layer
from support.tars import END, Packed, base256, gnu_long, header, member, padded, pax, python_tar

LAYER = "sha256:c0ffee"
GOOD = member(b"good", b"content")
SPARSE_1_0 = [
    (b"GNU.sparse.major", b"1"),
    (b"GNU.sparse.minor", b"0"),
    (b"GNU.sparse.name", b"bad"),
]


def refused(tmp_path: Path, tar: bytes, **options: Any) -> LayerError:
    """Pack what must not be packed and give the error, having seen that no file is left."""
    with pytest.raises(LayerError) as caught:
        Packed(tmp_path / "store", tar, layer=LAYER, **options)
    assert list((tmp_path / "store").iterdir()) == []
    assert LAYER in caught.value.evidence
    assert caught.value.remedy
    return caught.value


def sparse(realsize: bytes, numbers: bytes, content: bytes = b"") -> bytes:
    records = [*SPARSE_1_0, (b"GNU.sparse.realsize", realsize)]
    return pax(records) + member(b"x", padded(numbers) + content)


HOSTILE: list[tuple[str, bytes, bytes, str]] = [
    ("a name with ..", member(b"a/../../bad"), b"a/../../bad", "leaves the image's tree"),
    ("a PAX name with ..", pax([(b"path", b"../bad")]) + member(b"x"), b"../bad", "leaves"),
    ("a GNU name with ..", gnu_long(b"L", b"../bad") + member(b"x"), b"../bad", "leaves"),
    ("a name with NUL", pax([(b"path", b"b\0ad")]) + member(b"x"), b"b\\x00ad", "NUL"),
    ("no name", member(b""), b"", "no name"),
    ("a long component", pax([(b"path", b"b" * 256)]) + member(b"x"), b"bbbb", "longer than 255"),
    ("a file as the root", member(b"./", b"x", kind=b"2", link=b"/"), b"./", "root"),
    ("a hard link with ..", member(b"bad", kind=b"1", link=b"../etc/shadow"), b"bad", "hard link"),
    ("a hard link to /", member(b"bad", kind=b"1", link=b"/"), b"bad", "hard link"),
    ("a hard link to nothing", member(b"bad", kind=b"1"), b"bad", "hard link"),
    (
        "a symlink with NUL",
        pax([(b"linkpath", b"a\0b")]) + member(b"bad", kind=b"2", link=b"a"),
        b"bad",
        "NUL",
    ),
    ("an empty symlink", member(b"bad", kind=b"2"), b"bad", "empty"),
    (
        "a long symlink",
        gnu_long(b"K", b"l" * 5000) + member(b"bad", kind=b"2"),
        b"bad",
        "longer than 4095",
    ),
    ("a whiteout of nothing", member(b"dir/.wh."), b"dir/.wh.", "whiteout of nothing"),
    ("a whiteout of .", member(b"dir/.wh.."), b"dir/.wh..", "whiteout of nothing"),
    ("a whiteout of ..", member(b".wh..."), b".wh...", "whiteout of nothing"),
    ("an entry below a whiteout", member(b".wh.a/b"), b".wh.a/b", "below a whiteout"),
    ("an unknown type", member(b"bad", kind=b"Q"), b"bad", "type"),
    ("a part of several tapes", member(b"bad", kind=b"M"), b"bad", "type"),
    ("a negative size", member(b"bad", size=base256(-5, 12)), b"bad", "negative"),
    ("a negative owner", member(b"bad", uid=base256(-5, 8)), b"bad", "32 bits"),
    ("a huge owner", pax([(b"gid", b"4294967296")]) + member(b"bad"), b"bad", "32 bits"),
    ("letters as a size", member(b"bad", size=b"12xy"), b"bad", "octal"),
    ("letters as a PAX size", pax([(b"size", b"1e3")]) + member(b"bad"), b"bad", "decimal"),
    ("a time that is none", pax([(b"mtime", b"1.-2")]) + member(b"bad"), b"bad", "time"),
    ("a device of 2^20", member(b"bad", kind=b"3", major=5000), b"bad", "device"),
    ("damaged base64", pax([(b"LIBARCHIVE.xattr.a", b"=?=")]) + member(b"bad"), b"bad", "base64"),
    (
        "a sparse map that overlaps",
        sparse(b"99", b"2\n0\n5\n3\n5\n", b"x" * 10),
        b"bad",
        "overlaps",
    ),
    ("a sparse map beyond its file", sparse(b"9", b"1\n8\n5\n", b"x" * 5), b"bad", "leaves the fi"),
    ("a sparse map of other content", sparse(b"99", b"1\n8\n5\n", b"x" * 6), b"bad", "5 bytes"),
    ("a sparse map without end", sparse(b"99", b"9\n" + b"1\n" * 400), b"bad", "sparse map"),
    ("a sparse map of letters", sparse(b"99", b"a" * 600), b"bad", "sparse map"),
    ("a sparse map of one long line", sparse(b"99", b"1" * 9000), b"bad", "sparse map"),
    (
        "a sparse map that limps",
        pax([(b"GNU.sparse.numbytes", b"1")]) + member(b"bad"),
        b"bad",
        "alternate",
    ),
    (
        "half a pair in a sparse map",
        pax([(b"GNU.sparse.map", b"1,2,3")]) + member(b"bad"),
        b"bad",
        "without a length",
    ),
]


@pytest.mark.parametrize(
    ("tar", "entry", "reason"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
def test_a_hostile_entry_is_refused_by_name(
    tmp_path: Path, tar: bytes, entry: bytes, reason: str
) -> None:
    error = refused(tmp_path, GOOD + tar + END)
    assert reason in error.cause
    assert f"entry '{entry.decode()}" in error.evidence


HOSTILE_TARS: list[tuple[str, bytes, str]] = [
    ("nothing at all", b"", "empty"),
    ("no tar", b"<html>" + b"not found" * 200, "this is no tar"),
    ("a damaged header", GOOD + b"\1" + member(b"x")[1:] + END, "a header is damaged"),
    ("cut in a header", GOOD + member(b"x")[:100], "truncated"),
    ("cut in a file", GOOD + member(b"x", b"y" * 2000)[:1024], "truncated"),
    ("cut at the end of a file", GOOD + member(b"x", b"y" * 2048)[:-1], "truncated"),
    ("cut in an extended header", GOOD + pax([(b"path", b"x" * 900)])[:1024], "truncated"),
    ("ends after an extended header", GOOD + pax([(b"path", b"x")]) + END, "announced"),
    ("ends after a long name", GOOD + gnu_long(b"L", b"x"), "announced"),
    ("entries after the end marker", GOOD + END + member(b"late"), "after the end marker"),
    ("an entry after half a marker", GOOD + bytes(512) + member(b"l"), "after the end marker"),
    ("garbage after the end marker", GOOD + END + bytes(9999) + b"!", "after the end marker"),
    ("a PAX record without length", GOOD + member(b"p", b"path=x\n", kind=b"x"), "PAX record"),
    ("a PAX record too long", GOOD + member(b"p", b"99 path=x\n", kind=b"x"), "PAX record"),
    ("a PAX record too short", GOOD + member(b"p", b"3 path=x\n", kind=b"x"), "PAX record"),
    ("a PAX record of no key", GOOD + member(b"p", b"5 =x\n", kind=b"x"), "PAX record"),
    ("a PAX length of 40 digits", GOOD + member(b"p", b"9" * 40, kind=b"x"), "PAX record"),
    ("a PAX record of length 0", GOOD + member(b"p", b"0 a=b\n", kind=b"x"), "PAX record"),
    ("a huge PAX header", GOOD + header(b"p", kind=b"x", size=1 << 30), "max_header_bytes"),
    ("a huge long name", GOOD + header(b"p", kind=b"L", size=1 << 30), "max_header_bytes"),
    ("a negative header", GOOD + header(b"p", kind=b"x", size=base256(-9, 12)), "max_header_by"),
]


@pytest.mark.parametrize(
    ("tar", "reason"), [c[1:] for c in HOSTILE_TARS], ids=[c[0] for c in HOSTILE_TARS]
)
def test_a_damaged_tar_is_refused(tmp_path: Path, tar: bytes, reason: str) -> None:
    assert reason in refused(tmp_path, tar).cause


TAR = python_tar(*((f"file{i}", b"%d" % i * 50_000) for i in range(20)))
COMPRESSED = {
    "gzip": gzip.compress(TAR),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(TAR),
    "xz": lzma.compress(TAR),
}


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_stream_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    data = COMPRESSED[kind]
    error = refused(tmp_path, data[: int(len(data) * share)])
    assert f"the {kind} stream" in error.cause or "truncated" in error.cause


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_stream_without_its_last_bytes_is_refused(tmp_path: Path, kind: str) -> None:
    for cut in (1, 4, 7):
        assert f"the {kind} stream" in refused(tmp_path, COMPRESSED[kind][:-cut]).cause


@pytest.mark.parametrize("kind", COMPRESSED)
def test_garbage_behind_a_stream_is_refused(tmp_path: Path, kind: str) -> None:
    assert "is damaged" in refused(tmp_path, COMPRESSED[kind] + b"garbage!" * 5).cause


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_flipped_byte_is_refused(tmp_path: Path, kind: str) -> None:
    data = bytearray(COMPRESSED[kind])
    data[len(data) // 2] ^= 0x55
    refused(tmp_path, bytes(data))


def test_wrong_digests_are_refused_with_both_values(tmp_path: Path) -> None:
    wrong = "sha256:" + "0" * 64
    for option, name in (("expected_digest", "digest"), ("expected_diff_id", "diffID")):
        error = refused(tmp_path, GOOD + END, **{option: wrong})
        assert f"its {name}" in error.cause
        assert wrong in error.evidence
        assert error.evidence.count("sha256:") == 3


BOMB = member(b"zeros", bytes(20 << 20)) + END


@pytest.mark.parametrize(
    "squeeze", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_a_bomb_is_stopped_by_the_ratio(tmp_path: Path, squeeze: Any) -> None:
    limits = Limits(max_ratio=50, ratio_floor_bytes=1 << 20)
    error = refused(tmp_path, squeeze(BOMB), limits=limits)
    assert "max_ratio: 50" in error.cause
    assert "max_ratio" in error.remedy
    assert Packed(tmp_path / "fine", squeeze(BOMB)).index.data_size == 0


def test_a_sparse_map_cannot_make_much_out_of_little(tmp_path: Path) -> None:
    numbers = b"40\n" + b"".join(b"%d\n1\n" % (i << 20) for i in range(40))
    tar = sparse(b"%d" % (1 << 40), numbers, b"x" * 40) + END
    limits = Limits(max_ratio=50, ratio_floor_bytes=1 << 20)
    assert "max_ratio" in refused(tmp_path, tar, limits=limits).cause


@pytest.mark.parametrize(
    ("limit", "value", "tar"),
    [
        ("max_entries", 2, GOOD * 3),
        ("max_header_bytes", 100, pax([(b"comment", b"c" * 100)]) + GOOD),
        ("max_path_bytes", 20, member(b"a/very/long/path/to/something")),
        ("max_xattr_bytes", 10, pax([(b"SCHILY.xattr.user.a", b"v" * 10)]) + GOOD),
        ("max_sparse_segments", 1, sparse(b"99", b"2\n0\n1\n3\n1\n", b"xy")),
        ("max_sparse_bytes", 98, sparse(b"99", b"0\n")),
    ],
)
def test_each_limit_can_be_set_and_is_named(
    tmp_path: Path, limit: str, value: int, tar: bytes
) -> None:
    error = refused(tmp_path, tar + END, limits=Limits()._replace(**{limit: value}))
    assert f"{limit}: {value}" in error.cause
    assert limit in error.remedy
    Packed(tmp_path / "fine", tar + END)


def test_an_error_of_the_stream_is_not_mistaken_for_a_bad_layer(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "the disk is broken")

    with pytest.raises(OSError, match="the disk is broken"):
        pack_layer(
            Broken(),
            tmp_path / "p",
            tmp_path / "i",
            layer=LAYER,
            expected_digest=None,
            expected_diff_id=None,
        )
    assert list(tmp_path.iterdir()) == []


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    error = refused(tmp_path, member(b"../\x1b[31m\xff\n") + END)
    assert r"../\x1b[31m\xff\n" in error.evidence


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_any_damage_is_an_error_of_the_layer_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    kinds = {"plain": SMALL, "gzip": gzip.compress(SMALL), **SMALL_COMPRESSED}
    damaged = bytearray(kinds[data.draw(st.sampled_from(sorted(kinds)))])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        Packed(directory, bytes(damaged))
    except LayerError:
        assert list(directory.iterdir()) == []


SMALL = (
    pax([(b"path", b"p/q"), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.a", b"b")])
    + GOOD
    + gnu_long(b"L", b"l" * 120)
    + member(b"s", kind=b"2", link=b"t")
    + sparse(b"300000", b"2\n5\n5\n200000\n5\n", b"helloworld")
    + END
)
SMALL_COMPRESSED = {
    "zstd": zstandard.ZstdCompressor().compress(SMALL),
    "xz": lzma.compress(SMALL),
}
