"""Keys in a desktop's key ring: a real Secret Service, by itself and behind docker's helper."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.registry import key_ring
from sampan.registry.auth_files import CredentialError
from sampan.registry.credential_store import remove_credential, store_credential
from sampan.registry.credentials import find_credential
from sampan.registry.secret import Credential, Secret
from support.registries import require_programs
from support.secret_service import secret_service

pytestmark = pytest.mark.integration

KEY = "a-key-that-must-not-be-printed"
MINE = Credential("jo", Secret(KEY), "here")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[dict[str, str]]:
    with secret_service(tmp_path) as variables:
        yield variables


def key_of(registry: str, session: dict[str, str], repository: str = "") -> str | None:
    found = find_credential(registry, repository, session).credential
    return None if found is None else found.secret.reveal()


def test_a_key_is_kept_in_the_key_ring_where_there_is_one(
    session: dict[str, str], tmp_path: Path
) -> None:
    assert store_credential("nvcr.io", MINE, session) == ("the key ring", "")
    other = Credential("jo", Secret("the-key-of-an-organisation"), "")
    assert store_credential("nvcr.io/acme", other, session).place == "the key ring"
    file = tmp_path / ".config/sampan/auth.json"
    assert json.loads(file.read_text())["keyRing"] == {"nvcr.io": "jo", "nvcr.io/acme": "jo"}
    assert key_of("nvcr.io", session, "nvidia/cuda") == KEY
    assert key_of("nvcr.io", session, "acme/image") == "the-key-of-an-organisation"
    # Neither in our file, nor in the ring's own, which is encrypted.
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes()
    assert remove_credential("nvcr.io", session) == ["the key ring"]
    assert key_of("nvcr.io", session, "nvidia/cuda") is None
    assert key_of("nvcr.io", session, "acme/image") == "the-key-of-an-organisation"


def test_a_key_moves_from_the_ring_to_the_file_and_back(session: dict[str, str]) -> None:
    store_credential("r.example", MINE, session)
    new = Credential("jo", Secret("a-new-key-in-the-file"), "")
    assert store_credential("r.example", new, session, place="file").place.endswith("auth.json")
    assert key_of("r.example", session) == "a-new-key-in-the-file"
    store_credential("r.example", MINE, session, place="keyring")
    assert key_of("r.example", session) == KEY


def test_a_ring_that_cannot_be_opened_is_told_and_the_file_taken(tmp_path: Path) -> None:
    with secret_service(tmp_path, unlocked=False) as session:
        with pytest.raises(CredentialError, match="key ring"):
            store_credential("r.example", MINE, session, place="keyring")
        stored = store_credential("r.example", MINE, session)
        assert stored.place.endswith("auth.json")
        assert "key ring" in stored.note
        assert KEY not in stored.note
        assert key_of("r.example", session) == KEY


def test_a_bus_that_does_not_answer_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_ring, "TIME_LIMIT_S", 0.5)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "bus"))
        silent.listen()
        session = {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/bus",
        }
        with pytest.raises(CredentialError) as raised:
            store_credential("r.example", MINE, session, place="keyring")
    assert raised.value.evidence.startswith("within")
    assert "--keep-in file" in raised.value.remedy
    assert KEY not in str(raised.value)


def test_a_file_named_keyring_in_the_directory_is_not_run(
    session: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keyring.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    store_credential("r.example", MINE, session)
    assert key_of("r.example", session) == KEY
    assert not (tmp_path / "ran").exists()


def test_dockers_helper_for_the_secret_service_keeps_and_gives(
    session: dict[str, str], tmp_path: Path
) -> None:
    require_programs("docker-credential-secretservice")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"credsStore": "secretservice"}')
    place = "docker-credential-secretservice"
    assert key_of("r.example", session) is None
    assert store_credential("r.example", MINE, session).place == place
    assert key_of("r.example", session) == KEY
    assert store_credential("docker.io", MINE, session).place == place
    assert key_of("docker.io", session) == KEY
    assert remove_credential("r.example", session) == [place]
    assert key_of("r.example", session) is None
