"""What a login tells apart, which of several keys counts, and that none of them shows anywhere."""

import base64
import json
import os
import sys

import pytest

from support.ngc_server import Ngc
from support.registries import NGC_KEY
from support.sampan_shell import Shell

pytestmark = pytest.mark.integration

WRONG_KEY = "nvapi-a-wrong-key-that-must-not-leak-either"
OTHER_KEY = "nvapi-the-key-of-an-organisation-must-not-leak"
SECRET = "nvcr.io/acme/team/secret"
PUBLIC = "nvcr.io/nvidia/cuda"


def log_in(shell: Shell, *words: str, key: str = NGC_KEY, code: int = 0) -> str:
    return shell("login", "--password-stdin", *words, stdin=key, code=code)


def auth_of(shell: Shell) -> dict[str, str]:
    path = shell.home / ".config/sampan/auth.json"
    document = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: base64.b64decode(entry["auth"]).decode().partition(":")[2]
        for name, entry in document.get("auths", {}).items()
    }


def test_a_key_that_opens_a_repository_is_kept_for_it_alone(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.keys.add(OTHER_KEY)
    log_in(shell)
    said = log_in(shell, SECRET, key=OTHER_KEY)
    assert f"logged in to {SECRET}" in said
    assert "organisation" in said
    assert auth_of(shell) == {"nvcr.io": NGC_KEY, SECRET: OTHER_KEY}
    shell("pull", f"{SECRET}:12")
    sent = {
        base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[2]
        for _, path, headers in registry.seen
        if "acme/team/secret" in path and "Basic" in headers.get("Authorization", "")
    }
    assert sent == {OTHER_KEY}
    assert f"removed the credentials of {SECRET}" in shell("logout", SECRET)
    assert auth_of(shell) == {"nvcr.io": NGC_KEY}


def test_an_organisations_own_key_is_taken_for_its_images_alone(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.keys.add(OTHER_KEY)
    log_in(shell)
    log_in(shell, "nvcr.io/acme", key=OTHER_KEY)
    assert "ending in leak" in shell("whoami", "nvcr.io/acme/any")
    assert auth_of(shell) == {"nvcr.io": NGC_KEY, "nvcr.io/acme": OTHER_KEY}
    shell("logout", "nvcr.io")
    assert auth_of(shell) == {"nvcr.io/acme": OTHER_KEY}


def test_a_wrong_key_is_told_and_not_kept(ngc: tuple[Ngc, Shell]) -> None:
    for name in ("nvcr.io", "nvcr.io/acme", SECRET):
        said = log_in(ngc[1], name, key=WRONG_KEY, code=125)
        assert "error[registry-unauthorized]" in said
        assert "does not accept your credentials" in said
    assert auth_of(ngc[1]) == {}


def test_a_right_key_that_does_not_open_a_repository_is_told_so(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.refusals["token", "acme/team/secret"] = 403
    said = log_in(shell, SECRET, code=125)
    assert "error[registry-forbidden]" in said
    assert f"the credentials are right, but do not open {SECRET}" in said
    assert "choose organisation acme" in said
    assert auth_of(shell) == {}


def test_terms_that_were_not_accepted_do_not_make_a_key_wrong(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.refusals["token", "acme/team/secret"] = 412
    assert f"logged in to {SECRET}" in log_in(shell, SECRET)


def test_for_a_public_image_no_key_is_needed_and_that_is_said(ngc: tuple[Ngc, Shell]) -> None:
    shell = ngc[1]
    assert "is public: no key is needed" in log_in(shell, PUBLIC)
    said = log_in(shell, PUBLIC, key=WRONG_KEY, code=125)
    assert "can be pulled without any key" in said
    assert auth_of(shell) == {PUBLIC: NGC_KEY}


def test_a_repository_that_is_not_there_is_told_and_the_key_kept(ngc: tuple[Ngc, Shell]) -> None:
    said = log_in(ngc[1], "nvcr.io/acme/none/such")
    assert "has no repository acme/none/such" in said
    assert auth_of(ngc[1]) == {"nvcr.io/acme/none/such": NGC_KEY}


def test_what_is_stored_can_be_shown_to_the_registry_again(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    assert "error[no-credentials]" in shell("login", "--check", code=125)
    log_in(shell)
    said = shell("login", "--check")
    assert "nvcr.io accepts $oauthtoken" in said
    assert "auth.json" in said
    before = len(registry.seen)
    shell("login", "--check", SECRET)
    assert any("acme/team/secret" in path for _, path, _ in registry.seen[before:])
    registry.keys.discard(NGC_KEY)
    assert "error[registry-unauthorized]" in shell("login", "--check", code=125)


def test_whoami_names_the_key_that_counts_and_those_that_do_not(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    assert "nobody" in shell("whoami", code=1)
    log_in(shell)
    enroot = shell.home / ".config/enroot/.credentials"
    enroot.parent.mkdir(parents=True)
    enroot.write_text(f"machine nvcr.io login $oauthtoken password {WRONG_KEY}\n")
    before = len(registry.seen)
    first, *others = shell("whoami", variables={"NGC_API_KEY": WRONG_KEY}).splitlines()
    assert first == "nvcr.io: $oauthtoken, secret ending in ther, of $NGC_API_KEY"
    assert [line.rpartition(" of ")[2] for line in others] == [
        str(shell.home / ".config/sampan/auth.json"), str(enroot),
    ]  # fmt: skip
    assert len(registry.seen) == before


def test_a_name_with_a_tag_is_no_place_for_credentials(ngc: tuple[Ngc, Shell]) -> None:
    for command in ("login", "logout", "whoami"):
        assert "leave tag and digest out" in ngc[1](command, f"{PUBLIC}:12", code=125)


def test_when_ngcs_api_is_silent_the_login_stands(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.intercept = lambda handler: bool(
        "get-caller-info" in handler.path and handler.refuse(503) is None
    )
    assert "NGC does not say what kind of key it is" in log_in(shell)
    assert auth_of(shell) == {"nvcr.io": NGC_KEY}


PROBE = """
import os, sys
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ"):
        try:
            content = open(f"/proc/{process}/{name}", "rb").read()
        except OSError:
            continue
        if os.environ["NEEDLE"].encode()[::-1] in content:
            whose = "mine" if int(process) == os.getpid() else "others"
            open(os.environ["FOUND"], "a").write(f"{whose} {name}\\n")
"""


def test_a_key_from_standard_input_is_in_no_process_list_and_no_helper_sees_the_environments(
    ngc: tuple[Ngc, Shell],
) -> None:
    registry, shell = ngc
    # Of this test alone: others run at the same time, and have theirs in their environments.
    key = f"{NGC_KEY}-{os.urandom(8).hex()}"
    registry.keys.add(key)
    helper = shell.home / "bin/docker-credential-probe"
    helper.parent.mkdir()
    # Looks at every process while the key is in use: the needle is written backwards here.
    helper.write_text(f"#!{sys.executable}\n{PROBE}\nsys.stdin.read()\n")
    helper.chmod(0o755)
    (shell.home / ".docker").mkdir()
    (shell.home / ".docker/config.json").write_text('{"credsStore": "probe"}')
    found = shell.home / "found"
    variables = {
        "PATH": f"{helper.parent}:{shell.environment['PATH']}",
        "NEEDLE": key[::-1],
        "FOUND": str(found),
    }
    said = shell("login", "--password-stdin", stdin=key, variables=variables)
    assert "kept in docker-credential-probe" in said
    assert not found.exists(), found.read_text()
    for path in shell.home.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes()
    # The probe does see what is to be seen: the variable that the user has set for us.
    shell("login", variables={**variables, "NGC_API_KEY": key})
    assert set(found.read_text().splitlines()) == {"others environ"}
