"""The tables of squashfs, byte by byte where a mount could not tell right from lucky."""

import struct
import zlib

import pytest
import zstandard

from sampan.errors import InternalError
from sampan.images.squashfs.blocks import (
    Copy,
    LayerData,
    copy_contents,
    place_contents,
    write_fully,
)
from sampan.images.squashfs.metadata import MetadataWriter, make_compressor, write_lookup_table
from sampan.images.squashfs.xattrs import XattrTable, storable_xattrs
from sampan.model.layer import (
    BLOCK_SIZE,
    NO_FRAGMENT,
    UNCOMPRESSED,
    Content,
    Fragment,
    PackIndex,
)


def unpack_blocks(data: bytes, decompress) -> bytes:
    plain, at = b"", 0
    while at < len(data):
        (head,) = struct.unpack_from("<H", data, at)
        body = data[at + 2 : at + 2 + (head & 0x7FFF)]
        plain += body if head & 0x8000 else decompress(body)
        at += 2 + (head & 0x7FFF)
    return plain


@pytest.mark.parametrize(
    ("compression", "decompress"),
    [("gzip", zlib.decompress), ("zstd", lambda b: zstandard.ZstdDecompressor().decompress(b))],
)
def test_metadata_comes_in_blocks_of_8_kib_that_positions_refer_to(compression, decompress) -> None:
    writer = MetadataWriter(make_compressor(compression))
    plain = b""
    places = []
    for number in range(3000):
        record = b"%d," % number
        places.append((writer.block, writer.offset, record))
        writer.write(record)
        plain += record
    data = writer.finish()
    assert unpack_blocks(data, decompress) == plain
    for block, offset, record in places:
        assert unpack_blocks(data[block:], decompress)[offset:].startswith(record)


def test_a_record_that_ends_with_a_block_leaves_the_next_at_offset_zero() -> None:
    writer = MetadataWriter(make_compressor("zstd"))
    writer.write(b"x" * 8192)
    assert writer.offset == 0
    assert writer.block > 0


def test_metadata_that_does_not_shrink_is_stored_as_it_is() -> None:
    writer = MetadataWriter(lambda plain: plain + b"!")
    writer.write(b"abc")
    assert writer.finish() == struct.pack("<H", 3 | 0x8000) + b"abc"


def test_an_unknown_compression_is_our_own_mistake() -> None:
    with pytest.raises(InternalError, match="lzo"):
        make_compressor("lzo")


def test_a_lookup_table_ends_with_the_position_of_each_block() -> None:
    records = [struct.pack("<QII", n, n, 0) for n in range(1200)]
    data, pointers_at = write_lookup_table(records, make_compressor("gzip"), 1000)
    pointers = struct.unpack("<3Q", data[pointers_at - 1000 :])
    assert pointers[0] == 1000
    for number, pointer in enumerate(pointers):
        block = unpack_blocks(data[pointer - 1000 : pointers_at - 1000], zlib.decompress)
        assert block.startswith(records[number * 512])


def test_equal_attributes_share_one_number_and_foreign_ones_are_left_out() -> None:
    table = XattrTable(make_compressor("zstd"))
    first = table.number(((b"user.a", b"1"), (b"security.b", b"2")))
    assert table.number(((b"user.a", b"1"), (b"security.b", b"2"))) == first == 0
    assert table.number(((b"user.a", b"2"),)) == 1
    assert table.number(((b"system.posix_acl_access", b"x"),)) == 0xFFFFFFFF
    assert table.number(()) == 0xFFFFFFFF
    assert storable_xattrs(
        ((b"trusted.overlay.opaque", b"y"), (b"user.overlay.whiteout", b"y"), (b"user.", b""))
    ) == []  # fmt: skip


def test_no_attributes_mean_no_table() -> None:
    assert XattrTable(make_compressor("zstd")).finish(500) == (b"", None)


def pack(contents: list[Content], fragments: list[Fragment]) -> PackIndex:
    return PackIndex("zstd", "", "", 0, 0, [], contents, fragments)


def content(
    start: int, blocks: tuple[int, ...], key: bytes, fragment: int = NO_FRAGMENT
) -> Content:
    size = len(blocks) * BLOCK_SIZE + (7 if fragment != NO_FRAGMENT else 0)
    return Content(size, start, blocks, fragment, 0, key.ljust(16))


def test_live_ranges_are_laid_together_and_dead_ones_left_behind(tmp_path) -> None:
    data = bytes(range(200))
    layer = pack(
        [
            content(0, (10 | UNCOMPRESSED, 10 | UNCOMPRESSED), b"a"),
            content(20, (30,), b"dead"),
            content(50, (0, 5, 0), b"b", fragment=0),
        ],
        [Fragment(60, 40)],
    )
    plan = place_contents([LayerData(layer, data)], [(0, 0), (0, 2)], 96)
    assert plan.copies == [Copy(0, 0, 20, 96), Copy(0, 50, 55, 116), Copy(0, 60, 100, 121)]
    assert plan.stored[0, 2].start == 116
    assert plan.stored[0, 2].holes == 2 * BLOCK_SIZE
    assert struct.unpack("<QII", plan.fragments[plan.stored[0, 2].fragment]) == (121, 40, 0)
    assert plan.end == 161
    with (tmp_path / "out").open("w+b") as out:
        copy_contents(plan.copies, [LayerData(layer, data)], out.fileno(), 0)
        out.seek(96)
        assert out.read() == data[:20] + data[50:55] + data[60:100]


def test_the_last_hole_counts_only_as_far_as_the_file_goes() -> None:
    layer = pack([Content(BLOCK_SIZE + 10, 0, (0, 0), NO_FRAGMENT, 0, b"s" * 16)], [])
    stored = place_contents([LayerData(layer, b"")], [(0, 0)], 96).stored[0, 0]
    assert stored.holes == BLOCK_SIZE + 10
    assert stored.start == 0


def test_a_content_that_two_layers_hold_is_copied_once() -> None:
    layers = [LayerData(pack([content(0, (10,), b"a")], []), bytes(10)) for _ in range(2)]
    plan = place_contents(layers, [(0, 0), (1, 0)], 96)
    assert plan.copies == [Copy(0, 0, 10, 96)]
    assert plan.stored[0, 0] == plan.stored[1, 0]


def test_big_ranges_lie_so_that_reflinks_can_share_them(tmp_path) -> None:
    size = 3 << 20
    blocks = (100_000,) * 31
    layer = pack([content(0, (50,), b"a"), content(5000, blocks, b"b")], [])
    source = tmp_path / "pack"
    source.write_bytes(bytes(n % 251 for n in range(size + 200_000)))
    with source.open("rb") as stream, (tmp_path / "out").open("w+b") as out:
        layers = [LayerData(layer, stream.fileno())]
        plan = place_contents(layers, [(0, 0), (0, 1)], 96)
        place = plan.copies[1].place
        assert place % 4096 == 5000 % 4096
        copy_contents(plan.copies, layers, out.fileno(), 8192)
        out.seek(8192 + place)
        assert out.read() == source.read_bytes()[5000 : 5000 + 3_100_000]


def test_a_pack_that_ends_early_is_said_to_be_damaged(tmp_path) -> None:
    (tmp_path / "pack").write_bytes(bytes(5))
    with (tmp_path / "pack").open("rb") as source, (tmp_path / "out").open("w+b") as out:
        layers = [LayerData(pack([], []), source.fileno())]
        with pytest.raises(InternalError, match="shorter than its index"):
            copy_contents([Copy(0, 0, 10, 0)], layers, out.fileno(), 0)


def test_writing_goes_on_where_the_kernel_stopped(tmp_path, monkeypatch) -> None:
    import os

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:3], at))
    with (tmp_path / "out").open("w+b") as out:
        write_fully(out.fileno(), b"0123456789", 2)
        assert out.read() == b"\0\0" + b"0123456789"


def test_files_on_different_file_systems_are_copied_by_hand(tmp_path, monkeypatch) -> None:
    import errno
    import os

    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    noise = os.urandom(3_000_000)
    (tmp_path / "pack").write_bytes(noise)
    with (tmp_path / "pack").open("rb") as source, (tmp_path / "out").open("w+b") as out:
        layers = [LayerData(pack([], []), source.fileno())]
        copy_contents([Copy(0, 5, 2_999_990, 100)], layers, out.fileno(), 50)
        out.seek(150)
        assert out.read() == noise[5:2_999_990]


def test_a_full_disk_is_not_taken_for_a_missing_ability(tmp_path, monkeypatch) -> None:
    import errno
    import os

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    (tmp_path / "pack").write_bytes(bytes(10))
    with (tmp_path / "pack").open("rb") as source, (tmp_path / "out").open("w+b") as out:
        layers = [LayerData(pack([], []), source.fileno())]
        with pytest.raises(OSError, match="No space left"):
            copy_contents([Copy(0, 0, 10, 0)], layers, out.fileno(), 0)
