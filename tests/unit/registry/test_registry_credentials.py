"""Where credentials are found, which of several counts, and that they print as stars."""

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import InternalError
from sampan.registry.auth_files import CredentialError, key_name
from sampan.registry.client import Origin
from sampan.registry.credential_store import remove_credential, store_credential
from sampan.registry.credentials import find_credential, find_token_hosts
from sampan.registry.secret import Credential, Secret

KEY = "a-key-that-must-not-be-printed"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path: Path, document: Any, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(mode)
    return path


def entry(user: str, password: str = KEY) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def user_of(registry: str, environment: dict[str, str], repository: str = "") -> str | None:
    found = find_credential(registry, repository, environment).credential
    return None if found is None else found.username


def test_a_secret_prints_as_stars_wherever_it_is_printed() -> None:
    secret = Secret(KEY)
    credential = Credential("jo", secret, "here")
    origin = Origin("nvcr.io", credential)
    printed = f"{secret} {secret!r} {secret:>40} {credential} {origin} {[secret]} {str(secret)!s}"
    assert KEY not in printed
    assert "*" in printed
    assert pickle.loads(pickle.dumps(origin)) == origin
    assert hash(pickle.loads(pickle.dumps(origin))) == hash(origin)


def test_nothing_there_is_no_error(environment: dict[str, str]) -> None:
    assert find_credential("nvcr.io", "nvidia/cuda", environment) == (None, ())


def test_the_order_is_environment_ours_containers_docker(
    environment: dict[str, str], tmp_path: Path
) -> None:
    places = [
        tmp_path / ".docker/config.json",
        tmp_path / ".config/containers/auth.json",
        tmp_path / "run/containers/auth.json",
        tmp_path / ".config/sampan/auth.json",
    ]
    for number, place in enumerate(places):
        write(place, {"auths": {"nvcr.io": entry(f"user{number}")}})
        assert user_of("nvcr.io", environment) == f"user{number}"
    found = find_credential("nvcr.io", "", {**environment, "NGC_API_KEY": KEY}).credential
    assert found is not None
    assert (found.username, found.secret.reveal(), found.source) == ("$oauthtoken", KEY, "$NGC_API_KEY")  # fmt: skip
    # NGC's key is nobody else's.
    assert user_of("docker.io", {**environment, "NGC_API_KEY": KEY}) is None


def test_the_files_can_be_named(environment: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"auths": {"r.example": entry("named")}})
    write(tmp_path / "d/config.json", {"auths": {"r.example": entry("moved")}})
    assert user_of("r.example", {**environment, "REGISTRY_AUTH_FILE": str(tmp_path / "a.json")}) == "named"  # fmt: skip
    assert user_of("r.example", {**environment, "DOCKER_CONFIG": str(tmp_path / "d")}) == "moved"
    text = json.dumps({"auths": {"r.example": entry("inline")}})
    assert user_of("r.example", {**environment, "DOCKER_AUTH_CONFIG": text}) == "inline"


def test_an_organisations_own_entry_goes_before_its_registrys(
    environment: dict[str, str], tmp_path: Path
) -> None:
    auths = {"nvcr.io": entry("all"), "nvcr.io/acme": entry("org"), "nvcr.io/acme/x": entry("team")}
    write(tmp_path / ".config/containers/auth.json", {"auths": auths})
    assert user_of("nvcr.io", environment, "acme/x/image") == "team"
    assert user_of("nvcr.io", environment, "acme/y/image") == "org"
    assert user_of("nvcr.io", environment, "acmeother/image") == "all"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://nvcr.io/v2/", "nvcr.io"),
        ("http://localhost:5000", "localhost:5000"),
        ("nvcr.io/acme/", "nvcr.io/acme"),
    ],
)
def test_keys_are_read_in_all_the_spellings_that_files_have(key: str, name: str) -> None:
    assert key_name(key) == name


def test_an_identity_token_is_never_sent_as_a_password(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"r.example": {"identitytoken": KEY}}})
    found = find_credential("r.example", "", environment).credential
    assert found is not None
    assert found.is_identity_token
    with pytest.raises(InternalError):
        found.basic_header()


def test_a_damaged_file_of_others_is_told_and_does_not_stop_a_public_pull(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / ".docker/config.json", "{not json " + KEY)
    found = find_credential("r.example", "", environment)
    assert found.credential is None
    assert found.problems == (f"{tmp_path}/.docker/config.json cannot be read",)


def test_a_helper_that_is_missing_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"credHelpers": {"r.example": "none-such"}})
    found = find_credential("r.example", "", environment)
    assert found.problems == ("the credential helper docker-credential-none-such is missing",)
    assert find_credential("other.example", "", environment) == (None, ())


def test_a_helpers_name_cannot_lead_to_any_program(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / "docker-credential-/x", "#!/bin/sh\n", 0o755)
    write(tmp_path / ".docker/config.json", {"credsStore": "../../x"})
    assert "is missing" in find_credential("r.example", "", environment).problems[0]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_our_own_file_is_refused_when_others_can_read_it(
    environment: dict[str, str], tmp_path: Path, mode: int
) -> None:
    write(tmp_path / ".config/sampan/auth.json", {}, mode)
    with pytest.raises(CredentialError, match="open to other users"):
        find_credential("r.example", "", environment)


def test_what_is_stored_is_private_found_and_removed_and_the_rest_stays(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for registry in ("a.example", "b.example:5000"):
        credential = Credential("jo", Secret(KEY), "here")
        place = store_credential(registry, credential, environment, token_host=f"t.{registry[0]}")
    file = tmp_path / ".config/sampan/auth.json"
    assert place == (str(file), "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert find_token_hosts(environment) == (("a.example", "t.a"), ("b.example:5000", "t.b"))
    assert remove_credential("a.example", environment) == [str(file)]
    assert user_of("a.example", environment) is None
    assert user_of("b.example:5000", environment) == "jo"
    assert find_token_hosts(environment) == (("b.example:5000", "t.b"),)
    assert remove_credential("a.example", environment) == []
