"""A signature speaks for exactly what was signed; every change of it is seen."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from sampan.cli.main import main
from sampan.images.sif import open_sif
from sampan.images.sif_dsse import KeyFileError, load_private_key, load_public_key
from sampan.images.sif_edit import add_object, delete_object
from sampan.images.sif_objects import describe_new_object
from sampan.images.sif_parts import read_object
from sampan.images.sif_signing import (
    SifSignatureError,
    check_with_key,
    seal_with_key,
    sign_sif,
    verify_sif,
)
from support.sif_files import make_sif

SQUASHFS = b"hsqs" + bytes(8188)
PRIVATE = ed25519.Ed25519PrivateKey.generate()
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def sif(tmp_path: Path) -> Path:
    return make_sif(tmp_path / "a.sif", SQUASHFS)


@pytest.fixture
def signed(sif: Path) -> Path:
    sign_sif(str(sif), seal_with_key(PRIVATE), now=1000)
    return sif


def verify(path: Path, private: Any = PRIVATE, **words: Any) -> list[int]:
    found = verify_sif(str(path), check_with_key(private.public_key()), **words)
    return [item.identity for item in found.objects]


def refused(path: Path, private: Any = PRIVATE, **words: Any) -> str:
    with pytest.raises(SifSignatureError) as caught:
        verify(path, private, **words)
    return f"{caught.value.cause}: {caught.value.evidence}"


def bend(path: Path, at: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


def pem(private: Any, password: bytes = b"") -> bytes:
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def public_pem(private: Any) -> bytes:
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize(
    "private",
    [
        PRIVATE,
        OTHER,
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["ed25519", "p256", "p384", "rsa"],
)
def test_what_is_signed_is_verified_by_its_key_alone(sif: Path, private: Any) -> None:
    assert sign_sif(str(sif), seal_with_key(private), now=1000) == [4]
    assert verify(sif, private) == [1, 2, 3]
    assert "by another key" in refused(sif, ed25519.Ed25519PrivateKey.generate())


def test_a_file_without_signatures_is_not_signed(sif: Path) -> None:
    assert "not signed" in refused(sif)


@pytest.mark.parametrize(
    ("place", "data", "said"),
    [
        (0, b"#!/bin/sh\n", "header was changed"),
        (48, b"\xff", "header was changed"),
        (4096 + 2 * 585 + 73, b"x", "descriptor of object 3"),
        (4096 + 2 * 585 + 209, b"04", "descriptor of object 3"),
        (4096 + 585 + 25, struct.pack("<q", 3), "descriptor of object 2"),
        (32176, b"B", "object 1 was changed"),
        (-3000, b"\x01", "object 3 was changed"),
    ],
)
def test_a_change_is_seen_and_named(signed: Path, place: int, data: bytes, said: str) -> None:
    partition = open_sif(signed).objects[2]
    at = partition.offset + partition.size + place if place < 0 else place
    bend(signed, at, data)
    assert said in refused(signed)


def test_an_object_that_joins_the_group_breaks_its_signature(signed: Path) -> None:
    add_object(str(signed), describe_new_object(7, group=1), [b"late"], now=1)
    assert "object 5 was not signed" in refused(signed)
    assert verify(signed, identity=3) == [3]


def test_an_object_that_leaves_breaks_it_too(signed: Path) -> None:
    delete_object(str(signed), 2, now=1)
    assert "object 2 was signed and is not there" in refused(signed)


def test_objects_outside_of_groups_are_told_and_refused_on_demand(signed: Path) -> None:
    add_object(str(signed), describe_new_object(7), [b"loose"], now=1)
    found = verify_sif(str(signed), check_with_key(PRIVATE.public_key()))
    assert [item.identity for item in found.unsigned] == [5]
    assert "object 5 is not covered" in refused(signed, everything=True)


def test_a_root_file_system_that_left_its_group_is_not_trusted(sif: Path) -> None:
    bend(sif, 4096 + 2 * 585 + 9, struct.pack("<I", 0xF0000000))
    sign_sif(str(sif), seal_with_key(PRIVATE), now=1)
    assert "root file system is not covered" in refused(sif)


def test_two_signers_each_count_alone(signed: Path) -> None:
    sign_sif(str(signed), seal_with_key(OTHER), now=2000)
    assert verify(signed, PRIVATE) == verify(signed, OTHER) == [1, 2, 3]


def test_a_payload_cannot_be_exchanged(signed: Path) -> None:
    found = open_sif(signed)
    signature = found.objects[3]
    envelope = json.loads(read_object(found, signature))
    payload = base64.b64decode(envelope["payload"]).replace(b'"version":1', b'"version":2')
    envelope["payload"] = base64.b64encode(payload).decode()
    bent = json.dumps(envelope, separators=(",", ":")).encode() + b"\n"
    assert len(bent) == signature.size
    bend(signed, signature.offset, bent)
    assert "by another key, or changed" in refused(signed)


def test_a_signature_that_is_nonsense_is_told(signed: Path) -> None:
    signature = open_sif(signed).objects[3]
    bend(signed, signature.offset, b"[[[[[[[")
    assert "another form" in refused(signed)


def test_one_object_can_be_signed(sif: Path) -> None:
    sign_sif(str(sif), seal_with_key(PRIVATE), identity=3, now=1)
    assert verify(sif, identity=3) == [3]
    assert "object 1 was not signed" in refused(sif)


def test_a_key_with_a_password_asks_for_it() -> None:
    text = pem(OTHER, b"secret")
    assert load_private_key(text, lambda: b"secret").private_numbers() == OTHER.private_numbers()
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_private_key(text, lambda: b"wrong")


def test_a_key_that_cannot_sign_is_named() -> None:
    key = dsa.generate_private_key(1024)
    with pytest.raises(KeyFileError, match="signs no SIF files"):
        load_public_key(public_pem(key))
    with pytest.raises(KeyFileError, match="cannot be read"):
        load_public_key(pem(PRIVATE))


def test_the_commands_sign_and_verify(sif: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (key, public) = (sif.with_name("key.pem"), sif.with_name("key.pub"))
    key.write_bytes(pem(PRIVATE))
    public.write_bytes(public_pem(PRIVATE))
    assert main(["sif", "sign", "--key", str(key), str(sif)]) == 0
    assert capsys.readouterr().out == "4\n"
    assert main(["sif", "verify", "--key", str(public), str(sif)]) == 0
    said = capsys.readouterr().out
    assert "verified 3: FS (Squashfs/*System/amd64)\nsigned by SHA256:" in said
    assert main(["sif", "verify", "--json", "--key", str(public), str(sif)]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] == [1, 2, 3]
    bend(sif, 32176, b"B")
    assert main(["sif", "verify", "--key", str(public), str(sif)]) == 1
    assert "error[sif-signature]" in capsys.readouterr().err
