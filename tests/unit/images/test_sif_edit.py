"""Objects are added to and taken from a SIF that is there; what cannot be is refused, the file kept."""

import os
import struct
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.errors import UsageError
from sampan.images.sif import SifError, locate_system_partition, open_sif
from sampan.images.sif_edit import NewObject, add_object, delete_object
from sampan.images.sif_objects import describe_new_object
from sampan.images.sif_parts import locate_object, read_object
from support.sif_files import make_sif

SQUASHFS = b"hsqs" + bytes(8188)


@pytest.fixture
def sif(tmp_path: Path) -> Path:
    return make_sif(tmp_path / "a.sif", SQUASHFS)


def add(path: Path, data: bytes, number: int = 7, **words: object) -> int:
    return add_object(str(path), describe_new_object(number, **words), [data], now=1000)  # type: ignore[arg-type]


def test_what_is_added_is_there_with_its_facts(sif: Path) -> None:
    before = locate_system_partition(sif)
    assert add(sif, b"first", name="notes.txt", group=1, link=3) == 4
    assert add(sif, b"second") == 5
    found = open_sif(sif)
    first, second = found.objects[3:]
    assert (first.name, first.group_number, first.link, first.created) == ("notes.txt", 1, 3, 1000)
    assert (second.group_number, second.link) == (0, 0)
    assert [read_object(found, one) for one in (first, second)] == [b"first", b"second"]
    assert (found.header.free, found.header.modified) == (43, 1000)
    assert found.header.data_at + found.header.data_size == os.path.getsize(sif)
    assert locate_system_partition(sif) == before


def test_an_overlay_begins_where_it_can_be_mounted(sif: Path) -> None:
    add(sif, b"x")
    number = add(sif, b"ext3", 4, file_system=2, partition=4, architecture="arm64")
    item = locate_object(open_sif(sif), number)
    assert item.offset % 4096 == 0
    assert (item.file_system, item.partition) == (2, 4)
    assert open_sif(sif).architecture == "amd64"


def test_a_second_root_file_system_is_refused(sif: Path) -> None:
    with pytest.raises(SifError, match="root file system already"):
        add(sif, SQUASHFS, 4, file_system=1, partition=2, architecture="amd64")


def test_deleting_the_last_object_gives_its_room_back(sif: Path) -> None:
    before = sif.read_bytes()
    add(sif, bytes(50_000))
    delete_object(str(sif), 4, now=2000)
    assert len(sif.read_bytes()) == len(before)
    assert [item.identity for item in open_sif(sif).objects] == [1, 2, 3]
    assert open_sif(sif).header.free == 45


def test_the_number_of_a_deleted_object_is_given_again(sif: Path) -> None:
    add(sif, b"a")
    add(sif, b"b")
    delete_object(str(sif), 4, now=1)
    assert add(sif, b"c") == 4
    found = open_sif(sif)
    assert {item.identity: read_object(found, item) for item in found.objects[3:]} == {
        4: b"c",
        5: b"b",
    }


def test_without_its_root_file_system_a_file_has_no_architecture(sif: Path) -> None:
    delete_object(str(sif), 3, now=1)
    assert open_sif(sif).architecture == ""
    add(sif, SQUASHFS, 4, file_system=1, partition=2, architecture="arm64")
    assert open_sif(sif).architecture == "arm64"
    assert locate_system_partition(sif)[1] == len(SQUASHFS)


def test_an_object_that_another_one_links_to_stays(sif: Path) -> None:
    add(sif, b"about the definition", link=1)
    with pytest.raises(SifError, match="needed by another"):
        delete_object(str(sif), 1, now=1)


def test_a_table_without_room_is_said(sif: Path) -> None:
    for _ in range(45):
        add(sif, b"x")
    with pytest.raises(SifError) as caught:
        add(sif, b"x")
    assert "48 descriptors" in caught.value.evidence


def test_a_failure_while_the_bytes_come_leaves_the_file_as_it_was(sif: Path) -> None:
    before = sif.read_bytes()

    def pieces():
        yield bytes(100_000)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        add_object(str(sif), NewObject(0x4007), pieces(), now=1)
    assert sif.read_bytes() == before


def test_an_image_of_the_store_is_not_changed(tmp_path: Path) -> None:
    sif = make_sif(tmp_path / "abc.sif", SQUASHFS)
    (tmp_path / "abc.record.json").write_text("{}")
    (tmp_path / "link.sif").symlink_to(sif)
    with pytest.raises(SifError) as caught:
        add(tmp_path / "link.sif", b"x")
    assert caught.value.remedy == f"cp {sif} COPY.sif, and change the copy"


def test_an_object_over_the_table_is_refused(sif: Path) -> None:
    data = bytearray(sif.read_bytes())
    struct.pack_into("<q", data, 4096 + 17, 4096)
    sif.write_bytes(data)
    with pytest.raises(SifError, match="damaged"):
        add(sif, b"x")


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (5, {}, "signature is not added"),
        (4, {}, "--partfs is missing"),
        (4, {"file_system": 1, "partition": 9}, "--parttype 9"),
        (4, {"file_system": 1, "partition": 2, "architecture": "vax"}, "--partarch vax"),
        (9, {"sbom_format": "poem"}, "--sbomformat poem"),
        (7, {"group": -1}, "out of range"),
        (7, {"alignment": -1}, "alignment of -1"),
    ],
)
def test_words_that_do_not_fit_are_refused(number: int, words: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        describe_new_object(number, **words)  # type: ignore[arg-type]


def test_the_commands_add_and_delete(sif: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note = sif.with_name("note.txt")
    note.write_text("hello")
    assert main(["sif", "add", "--datatype", "7", str(sif), str(note)]) == 0
    assert capsys.readouterr().out == "4\n"
    assert open_sif(sif).objects[3].name == "note.txt"
    assert main(["sif", "add", "--datatype", "7", str(sif), str(sif)]) == 125
    assert "cannot hold itself" in capsys.readouterr().err
    assert main(["sif", "del", "4", str(sif)]) == 0
    assert len(open_sif(sif).objects) == 3
