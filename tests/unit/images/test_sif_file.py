"""SIF files: what we write is what the format says, and what we read is checked first."""

import os
import struct
from pathlib import Path

import pytest

from sampan.images.sif import (
    SifError,
    locate_system_partition,
    open_sif,
    plan_sif,
    render_sif_front,
)

SQUASHFS = b"hsqs" + bytes(8188)


def write_sif(path: Path, architecture: str = "amd64", config: bytes = b'{"Cmd":["sh"]}') -> bytes:
    layout = plan_sif(b"bootstrap: docker\n", config)
    front = render_sif_front(layout, len(SQUASHFS), architecture, bytes(range(16)))
    path.write_bytes(front + SQUASHFS)
    return front


def test_a_written_file_reads_back(tmp_path: Path) -> None:
    write_sif(tmp_path / "a.sif", "arm64")
    sif = open_sif(tmp_path / "a.sif")
    assert sif.architecture == "arm64"
    definition, config, partition = sif.objects
    assert (definition.kind, config.kind, partition.kind) == (0x4001, 0x4006, 0x4004)
    assert config.name == "oci-config.json"
    data = (tmp_path / "a.sif").read_bytes()
    assert data[config.offset : config.offset + config.size] == b'{"Cmd":["sh"]}'
    assert locate_system_partition(tmp_path / "a.sif") == (partition.offset, len(SQUASHFS))
    assert partition.offset % 4096 == 0


def test_the_header_is_byte_for_byte_that_of_the_format(tmp_path: Path) -> None:
    front = write_sif(tmp_path / "a.sif")
    assert front.startswith(b"#!/usr/bin/env run-singularity\n\0")
    assert front[32:48] == b"SIF_MAGIC\x0001\x0002\0"
    assert front[48:64] == bytes(range(16))
    created, modified, free, total, table, size, data, data_size = struct.unpack_from(
        "<8q", front, 64
    )
    assert (created, modified, free, total, table, size) == (0, 0, 45, 48, 4096, 28080)
    assert data == 32176
    assert data + data_size == os.path.getsize(tmp_path / "a.sif")
    kind, used, identity, group, link, offset, length, stored = struct.unpack_from(
        "<iBIIIqqq", front, 4096 + 2 * 585
    )
    assert (kind, used, identity, group, link) == (0x4004, 1, 3, 0xF0000001, 0)
    assert (offset, length) == (len(front), len(SQUASHFS))
    assert stored > length
    assert struct.unpack_from("<ii3s", front, 4096 + 2 * 585 + 201) == (1, 2, b"02\0")


def test_a_configuration_of_any_size_moves_the_partition(tmp_path: Path) -> None:
    write_sif(tmp_path / "a.sif", config=b"x" * 100_000)
    offset, _ = locate_system_partition(tmp_path / "a.sif")
    assert offset > 132_000
    assert offset % 4096 == 0


def test_an_architecture_without_code_is_unknown(tmp_path: Path) -> None:
    write_sif(tmp_path / "a.sif", "z80")
    assert open_sif(tmp_path / "a.sif").architecture == ""


def patched(path: Path, changes: dict[int, bytes], size: int | None = None) -> Path:
    write_sif(path)
    data = bytearray(path.read_bytes())
    for at, new in changes.items():
        data[at : at + len(new)] = new
    path.write_bytes(bytes(data[:size]))
    return path


PARTITION = 4096 + 2 * 585


@pytest.mark.parametrize(
    ("changes", "size", "cause", "evidence"),
    [
        ({}, 0, "no SIF file", "it is empty"),
        ({32: b"GIF_MAGIC"}, None, "no SIF file", "begins with"),
        ({42: b"02"}, None, "unknown SIF version", "b'02"),
        ({}, 20_000, "truncated SIF file", "inside the table"),
        ({}, 36_000, "truncated SIF file", "object 3 ends at"),
        ({88: struct.pack("<q", 2**40)}, None, "damaged SIF file", "descriptors"),
        ({88: struct.pack("<q", -1)}, None, "damaged SIF file", "descriptors"),
        ({96: struct.pack("<q", -5)}, None, "damaged SIF file", "descriptors at -5"),
        ({PARTITION + 17: struct.pack("<q", -4096)}, None, "truncated SIF file", "object 3"),
        ({PARTITION + 201: b"\x05"}, None, "not squashfs", "file system number 5"),
        ({PARTITION + 205: b"\x03"}, None, "has no root file system", "no primary system"),
        ({PARTITION + 4: b"\0"}, None, "has no root file system", "no primary system"),
    ],
)
def test_foreign_and_damaged_files_are_named_with_what_was_seen(
    tmp_path: Path, changes: dict[int, bytes], size: int | None, cause: str, evidence: str
) -> None:
    path = patched(tmp_path / "bad.sif", changes, size)
    with pytest.raises(SifError) as caught:
        locate_system_partition(path)
    assert cause in caught.value.cause
    assert evidence in caught.value.evidence
    assert str(path) in caught.value.evidence
    assert caught.value.remedy


def test_a_partition_without_squashfs_in_it_is_damaged(tmp_path: Path) -> None:
    write_sif(tmp_path / "a.sif")
    offset, _ = locate_system_partition(tmp_path / "a.sif")
    path = patched(tmp_path / "bad.sif", {offset: b"ext4"})
    with pytest.raises(SifError) as caught:
        locate_system_partition(path)
    assert "no squashfs magic" in caught.value.evidence


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_sif(tmp_path / "nowhere.sif")
