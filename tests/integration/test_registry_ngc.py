"""NGC's token flow as the field recorded it, under NGC's own host names behind a proxy of ours.

What nvcr.io answers today cannot be asked from a test; the shapes are those of the field note.
"""

import base64
import contextlib
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from support.ngc_server import LEGACY_KEY, Ngc
from support.registries import NGC_KEY
from support.sampan_shell import Shell

pytestmark = pytest.mark.integration

PUBLIC = "nvcr.io/nvidia/cuda:12"
PRIVATE = "nvcr.io/acme/team/secret:12"
WRONG_KEY = "nvapi-a-wrong-key-that-must-not-leak-either"


def receivers_of(registry: Ngc, part: str) -> set[tuple[str, str]]:
    """(host, path without query) of the requests whose Authorization holds ``part``."""
    return {
        (host, path.partition("?")[0])
        for host, path, headers in registry.seen
        if part in headers.get("Authorization", "")
    }


def basic(key: str = NGC_KEY) -> str:
    return "Basic " + base64.b64encode(f"$oauthtoken:{key}".encode()).decode()


def test_a_public_image_needs_no_key(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    assert "3 of 3 layers to fetch" in shell("pull", PUBLIC)
    assert receivers_of(registry, "Basic") == set()
    # Only what a read-only key may have is asked for, whatever the challenge says.
    assert registry.paths("proxy_auth") == ["/proxy_auth?scope=repository:nvidia/cuda:pull"]


def test_the_host_of_the_blobs_sees_no_token(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    shell("pull", PUBLIC)
    assert {host for host, path, _ in registry.seen if "signature" in path} == {"layers.nvcr.io"}
    assert {host for host, _ in receivers_of(registry, "Bearer")} == {"nvcr.io"}


def test_without_a_key_a_private_image_is_refused_with_the_way_to_log_in(
    ngc: tuple[Ngc, Shell],
) -> None:
    said = ngc[1]("pull", PRIVATE, code=125)
    assert "error[registry-unauthorized]" in said
    assert "no credentials for it were found" in said
    assert "sampan login nvcr.io" in said


def test_the_key_of_the_environment_is_used_and_goes_to_the_token_host_alone(
    ngc: tuple[Ngc, Shell],
) -> None:
    registry, shell = ngc
    shell("pull", PRIVATE, variables={"NGC_API_KEY": NGC_KEY})
    assert receivers_of(registry, basic()) == {("nvcr.io", "/proxy_auth")}


def test_a_wrong_key_does_not_stand_in_the_way_of_a_public_image(
    ngc: tuple[Ngc, Shell],
) -> None:
    registry, shell = ngc
    said = shell("pull", PUBLIC, variables={"NGC_API_KEY": WRONG_KEY})
    assert said.count("warning: the credentials of $NGC_API_KEY were refused") == 1
    assert len(registry.paths("proxy_auth")) == 2


def test_a_wrong_key_is_named_as_the_reason_for_a_private_image(
    ngc: tuple[Ngc, Shell],
) -> None:
    said = ngc[1]("pull", PRIVATE, variables={"NGC_API_KEY": WRONG_KEY}, code=125)
    assert "does not accept your credentials" in said
    assert "tried those of $NGC_API_KEY" in said


@pytest.mark.parametrize("image", [PUBLIC, PRIVATE])
def test_tokens_that_expire_in_the_middle_are_renewed(ngc: tuple[Ngc, Shell], image: str) -> None:
    registry, shell = ngc
    expired: list[str] = []

    def intercept(handler: Any) -> bool:
        if "/blobs/" in handler.path and "signature" not in handler.path and handler.path not in expired:  # fmt: skip
            expired.append(handler.path)
            registry.expire_tokens()
        return False

    registry.intercept = intercept
    shell("pull", image, variables={"NGC_API_KEY": NGC_KEY} if image == PRIVATE else {})
    assert len(registry.paths("proxy_auth")) == 5
    # An anonymous client must not follow the realm that an expired token is answered with.
    assert registry.paths("/token") == []


def test_log_in_pull_log_out(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    assert "logged in to nvcr.io" in shell("login", "--password-stdin", stdin=f"{NGC_KEY}\n")
    file = shell.home / ".config/sampan/auth.json"
    assert file.stat().st_mode & 0o777 == 0o600
    shell("pull", PRIVATE)
    assert receivers_of(registry, basic()) == {("nvcr.io", "/proxy_auth")}
    assert str(file) in shell("logout")
    assert "no credentials for it were found" in shell("pull", PRIVATE, code=125)
    assert "there were no credentials" in shell("logout")


def test_a_wrong_key_is_told_at_login_and_not_kept(ngc: tuple[Ngc, Shell]) -> None:
    _, shell = ngc
    said = shell("login", "--password-stdin", stdin=WRONG_KEY, code=125)
    assert "does not accept your credentials" in said
    assert not (shell.home / ".config/sampan/auth.json").exists()


def test_a_login_without_a_terminal_wants_the_key_on_standard_input(
    ngc: tuple[Ngc, Shell],
) -> None:
    assert "--password-stdin" in ngc[1]("login", code=125)


def test_the_prompt_does_not_show_the_key_that_is_typed(ngc: tuple[Ngc, Shell]) -> None:
    _, shell = ngc
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sampan", "login"]
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(
        command, env=shell.environment, start_new_session=True, **streams
    ) as process:
        os.close(theirs)
        shown = b""
        while b"API key for nvcr.io: " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, NGC_KEY.encode() + b"\n")
        with contextlib.suppress(OSError):
            while data := os.read(ours, 1000):
                shown += data
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"logged in to nvcr.io" in shown
    assert NGC_KEY.encode() not in shown


def test_a_key_open_to_others_is_not_used(ngc: tuple[Ngc, Shell]) -> None:
    _, shell = ngc
    shell("login", "--password-stdin", stdin=NGC_KEY)
    file = shell.home / ".config/sampan/auth.json"
    file.chmod(0o644)
    assert "chmod 600" in shell("pull", PRIVATE, code=125)


def foreign_realm(handler: Any) -> bool:
    """A registry that wants the keys sent somewhere else."""
    if handler.headers["Host"] == "nvcr.io" and "Authorization" not in handler.headers:
        realm = 'Bearer realm="https://elsewhere.example/proxy_auth"'
        handler.refuse(401, "UNAUTHORIZED", WWW_Authenticate=realm)
        return True
    return False


def test_a_realm_on_another_host_does_not_get_the_key(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.intercept = foreign_realm
    said = shell("pull", PRIVATE, variables={"NGC_API_KEY": NGC_KEY}, code=125)
    assert "the credentials were not sent to elsewhere.example" in said
    assert receivers_of(registry, "Basic") == set()


def test_a_token_host_that_the_user_names_gets_the_key(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.intercept = foreign_realm
    said = shell("login", "--password-stdin", stdin=NGC_KEY, code=125)
    assert "sampan login --token-host elsewhere.example nvcr.io" in said
    shell("login", "--password-stdin", "--token-host", "elsewhere.example", stdin=NGC_KEY)
    shell("pull", PRIVATE)
    assert receivers_of(registry, basic()) == {("elsewhere.example", "/proxy_auth")}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (412, "https://catalog.ngc.nvidia.com/orgs/acme/team/containers/secret"),
        (403, "https://org.ngc.nvidia.com/setup/api-keys"),
        (451, "in your region"),
    ],
)
def test_what_ngc_refuses_is_told_apart(ngc: tuple[Ngc, Shell], status: int, words: str) -> None:
    registry, shell = ngc
    registry.intercept = lambda handler: bool(
        "/manifests/" in handler.path
        and "Authorization" in handler.headers
        and handler.refuse(status) is None
    )
    said = shell("pull", PRIVATE, variables={"NGC_API_KEY": NGC_KEY}, code=125)
    assert words in said


def test_a_certificate_of_strangers_is_not_accepted(ngc: tuple[Ngc, Shell]) -> None:
    said = ngc[1]("pull", PUBLIC, variables={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}, code=125)  # fmt: skip
    assert "error[registry-certificate]" in said
    assert "/etc/docker/certs.d/nvcr.io/ca.crt" in said


def test_a_proxy_that_does_not_answer_is_named(ngc: tuple[Ngc, Shell]) -> None:
    said = ngc[1]("pull", PUBLIC, variables={"HTTPS_PROXY": "http://127.0.0.1:9"}, code=125)
    assert "the proxy does not bring us to nvcr.io" in said


def test_a_token_opens_no_other_repository_than_its_own(ngc: tuple[Ngc, Shell]) -> None:
    registry, _ = ngc
    token = registry.signer.sign("nvidia/cuda")
    headers = {"Authorization": f"Bearer {token}"}
    statuses = [
        registry.ask_upstream("GET", f"/v2/{name}/tags/list", headers).status
        for name in ("nvidia/cuda", "acme/team/secret")
    ]
    assert statuses == [200, 401]


def test_tokens_that_are_never_taken_end_in_an_error_not_in_circles(
    ngc: tuple[Ngc, Shell],
) -> None:
    registry, shell = ngc
    registry.life_s = -100
    said = shell("pull", PRIVATE, variables={"NGC_API_KEY": NGC_KEY}, code=125)
    assert "error[registry-unauthorized]" in said
    assert len(registry.paths("proxy_auth")) < 5


def test_a_legacy_key_pulls_as_well(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    shell("pull", PRIVATE, variables={"NGC_API_KEY": LEGACY_KEY})
    assert receivers_of(registry, basic(LEGACY_KEY)) == {("nvcr.io", "/proxy_auth")}


def test_terms_that_the_token_host_refuses_for_are_named(ngc: tuple[Ngc, Shell]) -> None:
    registry, shell = ngc
    registry.refusals["token", "acme/team/secret"] = 412
    said = shell("pull", PRIVATE, variables={"NGC_API_KEY": NGC_KEY}, code=125)
    assert "sampan accept-license nvcr.io/acme/team/secret" in said


def test_hosts_and_users_that_are_mistaken_for_the_registry_s_are_put_right(
    ngc: tuple[Ngc, Shell],
) -> None:
    _, shell = ngc
    said = shell("login", "--password-stdin", "ngc.nvidia.com", stdin=NGC_KEY)
    assert "warning: ngc.nvidia.com is no registry: nvcr.io is meant" in said
    assert "logged in to nvcr.io; kept in" in said
    assert "removed the credentials of nvcr.io" in shell(
        "logout", "https://catalog.ngc.nvidia.com/"
    )
    said = shell("login", "--password-stdin", "-u", "jane", "nvcr.io", stdin=NGC_KEY)
    assert "warning: the user of nvcr.io is always $oauthtoken: jane is left out" in said
    assert "logged in to nvcr.io" in said
