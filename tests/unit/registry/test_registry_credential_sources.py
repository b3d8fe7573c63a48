"""Other programs' credentials: Apptainer's, Singularity's, Enroot's, the ngc program's; and helpers."""

import base64
import json
import sys
from pathlib import Path

import pytest

from sampan.registry.auth_files import CredentialError
from sampan.registry.credential_store import remove_credential, store_credential
from sampan.registry.credentials import find_all, find_credential
from sampan.registry.key_ring import has_key_ring, store_in_key_ring
from sampan.registry.netrc_file import parse_netrc
from sampan.registry.secret import Credential, Secret

KEY = "a-key-that-must-not-be-printed"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def auths(*names: str) -> str:
    encoded = {
        name: {"auth": base64.b64encode(f"{name}-user:{KEY}".encode()).decode()} for name in names
    }
    return json.dumps({"auths": encoded})


def seen(
    registry: str, environment: dict[str, str], repository: str = ""
) -> tuple[str, str] | None:
    found = find_credential(registry, repository, environment).credential
    return None if found is None else (found.username, found.secret.reveal())


@pytest.mark.parametrize(
    "place", [".apptainer/docker-config.json", ".singularity/docker-config.json"]
)
def test_apptainers_and_singularitys_files_are_read(
    environment: dict[str, str], tmp_path: Path, place: str
) -> None:
    write(tmp_path / place, auths("r.example"))
    assert seen("r.example", environment) == ("r.example-user", KEY)
    write(tmp_path / "elsewhere/docker-config.json", auths("s.example"))
    environment["APPTAINER_CONFIGDIR"] = str(tmp_path / "elsewhere")
    assert seen("s.example", environment) == ("s.example-user", KEY)


@pytest.mark.parametrize("prefix", ["APPTAINER", "SINGULARITY"])
def test_apptainers_variables_serve_what_has_no_credentials_of_its_own(
    environment: dict[str, str], tmp_path: Path, prefix: str
) -> None:
    environment |= {f"{prefix}_DOCKER_USERNAME": "jo", f"{prefix}_DOCKER_PASSWORD": KEY}
    assert seen("r.example", environment) == ("jo", KEY)
    assert find_credential("r.example", "", environment, named_only=True).credential is None
    write(tmp_path / ".docker/config.json", auths("r.example"))
    assert seen("r.example", environment) == ("r.example-user", KEY)


def test_a_key_of_ngcs_in_apptainers_variables_goes_to_ngc_alone(
    environment: dict[str, str],
) -> None:
    environment |= {"APPTAINER_DOCKER_USERNAME": "$oauthtoken", "APPTAINER_DOCKER_PASSWORD": KEY}
    assert seen("nvcr.io", environment) == ("$oauthtoken", KEY)
    assert seen("docker.io", environment) is None


@pytest.mark.parametrize("host", ["nvcr.io", "authn.nvidia.com"])
def test_enroots_file_is_read_by_registry_or_token_host(
    environment: dict[str, str], tmp_path: Path, host: str
) -> None:
    text = f"# NGC\nmachine {host} login $oauthtoken password {KEY}\nmachine x login y password z\n"
    write(tmp_path / ".config/enroot/.credentials", text)
    assert seen("nvcr.io", environment) == ("$oauthtoken", KEY)
    environment["ENROOT_CONFIG_PATH"] = str(tmp_path / "none")
    assert seen("nvcr.io", environment) is None


def test_enroots_values_are_expanded_from_the_environment_and_never_run(
    environment: dict[str, str], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    text = f"""
    machine a.example login me password $MY_KEY
    machine b.example login me password ${{MY_KEY}}
    machine c.example login me password $(touch {made}; echo x)
    machine d.example login me password `touch {made}`
    machine e.example login me password $UNSET
    machine f.example login me password "with blank"
    """
    write(tmp_path / ".config/enroot/.credentials", text)
    environment["MY_KEY"] = KEY
    assert seen("a.example", environment) == ("me", KEY)
    assert seen("b.example", environment) == ("me", KEY)
    assert seen("f.example", environment) == ("me", "with blank")
    for host, word in (("c", "is a command"), ("d", "is a command"), ("e", "is $UNSET")):
        found = find_credential(f"{host}.example", "", environment)
        assert found.credential is None
        assert word in found.problems[0]
    assert not made.exists()


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", []),
        ("machine", []),
        ("machine a", ["a"]),
        ("machine a login", ["a"]),
        ("default login x password y", []),
        ("macdef init\n cd /tmp\n\nmachine b password z", ["b"]),
        ('machine a password "never ends', ["a"]),
        ("machine a password $(never ends", ["a"]),
        ("login x machine a\npassword p machine b", ["a", "b"]),
        ("\x00\xff machine", []),
    ],
)
def test_any_netrc_is_survived(text: str, hosts: list[str]) -> None:
    assert [machine.host for machine in parse_netrc(text)] == hosts


def test_the_ngc_programs_key_is_the_last_of_ngcs(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / ".ngc/config", f"[CURRENT]\napikey = {KEY}%x\norg = acme\n")
    assert seen("nvcr.io", environment) == ("$oauthtoken", f"{KEY}%x")
    assert seen("docker.io", environment) is None
    write(tmp_path / ".docker/config.json", auths("nvcr.io"))
    environment["NGC_APP_KEY"] = "from-an-old-environment"
    assert seen("nvcr.io", environment) == ("$oauthtoken", "from-an-old-environment")
    assert seen("docker.io", environment) is None
    environment["NGC_CLI_API_KEY"] = "from-the-environment"
    problems: list[str] = []
    sources = [one.source for one in find_all("nvcr.io", "", environment, problems)]
    assert sources == [
        "$NGC_CLI_API_KEY", f"{tmp_path}/.docker/config.json", f"{tmp_path}/.ngc/config",
    ]  # fmt: skip
    assert problems == []


def test_a_damaged_file_does_not_hide_the_next_one(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / ".docker/config.json", "{not json")
    write(tmp_path / ".apptainer/docker-config.json", auths("r.example"))
    assert seen("r.example", environment) == ("r.example-user", KEY)


HELPER = f"""#!{sys.executable}
import json, os, sys
base = os.path.dirname(os.path.abspath(__file__))
open(base + "/said", "a").write(json.dumps([sys.argv[1:], sorted(os.environ)]) + "\\n")
place = base + "/kept.json"
kept = json.load(open(place)) if os.path.exists(place) else {{}}
words = sys.stdin.read()
if sys.argv[1] == "store":
    one = json.loads(words)
    kept[one["ServerURL"]] = one
elif sys.argv[1] == "erase":
    kept.pop(words, None)
elif words in kept:
    print(json.dumps(kept[words]))
else:
    print("credentials not found in native keychain")
    sys.exit(1)
json.dump(kept, open(place, "w"))
"""


def test_a_configured_helper_keeps_what_is_for_a_host_and_sees_no_other_secret(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bin/docker-credential-test", HELPER, 0o755)
    write(tmp_path / ".docker/config.json", json.dumps({"credsStore": "test"}))
    monkeypatch.setenv("PATH", environment["PATH"])
    environment |= {"NGC_API_KEY": "other", "APPTAINER_DOCKER_PASSWORD": "other"}
    credential = Credential("jo", Secret(KEY), "here")
    assert store_credential("r.example", credential, environment).place == "docker-credential-test"
    assert store_credential("r.example/org", credential, environment).place.endswith("auth.json")
    assert seen("r.example", environment) == ("jo", KEY)
    assert remove_credential("r.example", environment) == ["docker-credential-test"]
    assert seen("r.example", environment) is None
    assert seen("r.example", environment, "org/image") == ("jo", KEY)
    said = (tmp_path / "bin/said").read_text()
    assert KEY not in said
    assert "HOME" in said
    assert "NGC_API_KEY" not in said
    assert "APPTAINER_DOCKER_PASSWORD" not in said


def test_a_helper_is_wanted_and_there_is_none(environment: dict[str, str]) -> None:
    with pytest.raises(CredentialError, match=r"no helper for r\.example"):
        store_credential(
            "r.example", Credential("jo", Secret(KEY), ""), environment, place="helper"
        )


def test_without_a_session_bus_there_is_no_key_ring_and_auto_means_the_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assert not has_key_ring(environment)
    with pytest.raises(CredentialError, match="no key ring here"):
        store_in_key_ring("r.example", "jo", Secret(KEY), environment)
    stored = store_credential("r.example", Credential("jo", Secret(KEY), ""), environment)
    assert stored == (str(tmp_path / ".config/sampan/auth.json"), "")


def test_what_lies_in_a_key_ring_that_is_not_there_is_told(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / ".config/sampan/auth.json", json.dumps({"keyRing": {"r.example": "jo"}}))
    found = find_credential("r.example", "", environment)
    assert found.credential is None
    assert found.problems == ("the key of r.example lies in a key ring that cannot be asked here",)
    assert find_credential("other.example", "", environment) == (None, ())


@pytest.mark.parametrize(
    ("key", "tail"), [("nvapi-0123456789abcd", "abcd"), ("short", ""), ("", "")]
)
def test_four_characters_of_a_long_key_may_be_shown(key: str, tail: str) -> None:
    assert Secret(key).tail() == tail
