"""What a SIF holds, and what it says of itself, is shown; hostile files are refused."""

import json
import random
import struct
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.errors import SampanError
from sampan.images.sif import SifError, locate_system_partition, open_sif
from sampan.images.sif_format import DESCRIPTOR, DESCRIPTORS_AT
from sampan.images.sif_inspect import describe_sif
from sampan.images.sif_parts import extract_objects
from sampan.images.sif_words import describe_header, describe_object, kind_word
from support.sif_files import CONFIG, DEFINITION, described_tree, make_sif, make_squashfs


@pytest.fixture(scope="module")
def squashfs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("tree")
    return make_squashfs(described_tree(place / "root"), place / "fs").read_bytes()


@pytest.fixture
def sif(tmp_path: Path, squashfs: bytes) -> Path:
    return make_sif(tmp_path / "a.sif", squashfs)


def bend(path: Path, at: int, form: str, *values: int) -> Path:
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, *values)
    path.write_bytes(data)
    return path


def descriptor(slot: int) -> int:
    return DESCRIPTORS_AT + slot * DESCRIPTOR.size


def test_the_list_shows_every_object(sif: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sif", "list", str(sif)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["ID", "1", "2", "3"]
    assert "oci-config.json" in said[2]
    assert "FS (Squashfs/*System/amd64)" in said[3]


def test_the_list_is_json_for_programs(sif: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sif", "list", "--json", str(sif)]) == 0
    objects = json.loads(capsys.readouterr().out)
    assert [one["Data Type"] for one in objects] == ["Def.FILE", "JSON.Generic", "FS"]


@pytest.mark.parametrize(
    ("kind", "extra", "word"),
    [
        (0x4005, struct.pack("<i", 1), "Signature (SHA-256)"),
        (0x4005, struct.pack("<i", 3) + b"\xab" * 20, "Signature (SHA-512)"),
        (0x4008, struct.pack("<ii", 1, 0x100), "Cryptographic Message (OpenPGP/Clear Signature)"),
        (0x4009, struct.pack("<i", 4), "SBOM (spdx-json)"),
        (0x400A, b"sha256:1234", "OCI.RootIndex (sha256:1234)"),
        (0x400B, b"sha256:1234", "OCI.Blob (sha256:1234)"),
        (0x4004, struct.pack("<ii3s", 2, 4, b"04\0"), "FS (Ext3/Overlay/arm64)"),
        (0x4004, struct.pack("<ii3s", 9, 9, b"99\0"), "FS (unknown 9/unknown 9/unknown)"),
        (0x4001, b"", "Def.FILE"),
        (0x4099, b"", "Unknown (0x4099)"),
    ],
)  # fmt: skip
def test_every_kind_has_its_words(sif: Path, kind: int, extra: bytes, word: str) -> None:
    bend(sif, descriptor(0), "<i", kind)
    data = bytearray(sif.read_bytes())
    data[descriptor(0) + 201 : descriptor(0) + 201 + len(extra)] = extra
    sif.write_bytes(data)
    first = open_sif(sif).objects[0]
    assert kind_word(first) == word
    assert describe_object(first)["ID"] == "1"


def test_times_that_are_none_are_shown_as_numbers(sif: Path) -> None:
    bend(sif, 64, "<q", 2**60)
    assert describe_header(open_sif(sif))["Created At"] == f"{2**60} s"


def test_objects_come_out_as_files(sif: Path, squashfs: bytes, tmp_path: Path) -> None:
    paths = extract_objects(open_sif(sif), tmp_path / "out")
    assert [path.name for path in paths] == [
        "1-object.def",
        "2-oci-config.json",
        "3-partition.squashfs",
    ]
    assert [path.read_bytes() for path in paths] == [DEFINITION, CONFIG, squashfs]
    with pytest.raises(SifError, match="is there already"):
        extract_objects(open_sif(sif), tmp_path / "out")


def test_no_name_in_a_file_leads_out_of_the_directory(sif: Path, tmp_path: Path) -> None:
    data = bytearray(sif.read_bytes())
    name = b"../../../../etc/passwd\n\x1b[2J"
    data[descriptor(1) + 73 : descriptor(1) + 73 + len(name)] = name
    sif.write_bytes(data)
    paths = extract_objects(open_sif(sif), tmp_path / "out")
    assert paths[1] == tmp_path / "out/2-etc_passwd_2J"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sif", "out"]


def test_inspect_shows_what_apptainer_shows(sif: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sif", "inspect", str(sif)]) == 0
    assert capsys.readouterr().out == "maintainer: me\nversion: 2\n"
    assert main(["sif", "inspect", "--runscript", str(sif)]) == 0
    assert capsys.readouterr().out == "#!/bin/sh\n\techo tab\n"
    assert main(["sif", "inspect", "--all", str(sif)]) == 0
    found = json.loads(capsys.readouterr().out)["data"]["attributes"]
    assert found["deffile"] == DEFINITION.decode()
    assert list(found["environment"]) == [
        "/.singularity.d/env/10-docker2singularity.sh",
        "/.singularity.d/env/90-environment.sh",
    ]


def test_labels_of_the_configuration_stand_in(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    image = make_squashfs(tmp_path / "root", tmp_path / "fs").read_bytes()
    found = describe_sif(open_sif(make_sif(tmp_path / "a.sif", image)))
    assert found.labels == {"kept": "in the configuration"}


def test_a_dump_is_the_bytes_of_the_object(
    sif: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["sif", "dump", "2", str(sif)]) == 0
    assert capfdbinary.readouterr().out == CONFIG
    assert main(["sif", "dump", "7", str(sif)]) == 125
    assert b"has 1, 2, 3" in capfdbinary.readouterr().err


def test_two_objects_with_one_number_are_refused(sif: Path) -> None:
    bend(sif, descriptor(1) + 5, "<I", 1)
    with pytest.raises(SifError) as caught:
        open_sif(sif)
    assert "same number" in caught.value.evidence


def test_two_root_file_systems_are_refused(sif: Path) -> None:
    bend(sif, descriptor(1), "<i", 0x4004)
    bend(sif, descriptor(1) + 201, "<ii", 1, 2)
    with pytest.raises(SifError) as caught:
        locate_system_partition(sif)
    assert "two root file systems" in caught.value.evidence


def test_bent_files_are_refused_or_read_and_nothing_else_happens(sif: Path) -> None:
    whole = sif.read_bytes()
    chance = random.Random(11)
    for _ in range(400):
        bent = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            place = chance.choice((chance.randrange(128), chance.randrange(4096, 4096 + 3 * 585)))
            bent[place] = chance.choice((0, 255, chance.randrange(256)))
        sif.write_bytes(bent)
        try:
            found = open_sif(sif)
            describe_header(found)
            for item in found.objects:
                describe_object(item)
            describe_sif(found)
        except SampanError:
            continue
