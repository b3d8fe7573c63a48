"""NGC's and Docker Hub's catalogues as a user meets them: search, tags, spaces, details, terms.

The shapes are those that the field recorded; what the live services answer cannot be asked here.
"""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from support.layouts import OCI_INDEX, OCI_MANIFEST, sha256
from support.ngc_server import API, HUB, LEGACY_KEY, STRANGER, TOKENS, Ngc
from support.registries import NGC_KEY
from support.sampan_shell import Shell

pytestmark = pytest.mark.integration

WITH_KEY = {"NGC_API_KEY": NGC_KEY}
ACME = {
    "roles": [
        {"org": {"name": "acme", "displayName": "Acme Inc"}, "orgRoles": ["REGISTRY_READ"]},
        {"org": {"name": "acme"}, "team": {"name": "team"}, "teamRoles": ["REGISTRY_READ"]},
    ]
}


@pytest.fixture
def stocked(ngc: tuple[Ngc, Shell]) -> tuple[Ngc, Shell]:
    """A catalogue with something in it."""
    server, _ = ngc
    server.add_resource("nvidia/pytorch", weightPopular=900.5,
                        attributes={"latestTag": "24.05-py3", "size": "9100000000"})  # fmt: skip
    server.add_resource("nvidia/cuda", weightPopular=1000.0, dateModified="2026-03-01T00:00:00Z",
                        attributes={"latestTagPushedDate": "2026-03-01T00:00:00.123456789Z"})  # fmt: skip
    server.add_resource("nvidia/clara/bionemo", weightPopular=10)
    server.add_resource("hpc/gromacs", weightPopular=50)
    server.add_resource("acme/team/secret", weightPopular=1)
    server.roles = ACME["roles"]
    return server, ngc[1]


def tag(name: str, day: int, *, signed: bool = False, **members: Any) -> dict[str, Any]:
    """A tag as the catalogue lists it."""
    return {
        "tag": name, "digest": f"sha256:{day:064x}", "size": 9_000_000_000 + day,
        "pushedDate": f"2026-01-{day:02}T00:00:00.000Z", "isSigned": signed,
        "architectureVariants": [
            {"architecture": a, "os": "linux", "compressedSize": 9_000_000_000, "digest": "x"}
            for a in ("amd64", "arm64")
        ],
        **members,
    }  # fmt: skip


def names(said: str) -> list[str]:
    """The first column without its heading."""
    return [line.split()[0] for line in said.splitlines()[1:] if line.strip()]


def keys_sent_to(server: Ngc) -> set[str]:
    """Hosts that saw a key, however it was written."""
    return {host for host, _, headers in server.seen if "Authorization" in headers}


def test_a_guest_searches_the_catalogue_and_sends_no_key(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    said = shell("search", "pytorch")
    assert "nvcr.io/nvidia/pytorch  24.05-py3   2026-01-01  9.1GB" in said
    assert len(names(said)) == 1
    asked = json.loads(unquote(server.paths("/v2/search/catalog")[0]).partition("?q=")[2])
    assert asked["query"] == "pytorch"
    assert keys_sent_to(server) == set()


def test_each_hit_is_shown_once_though_the_catalogue_repeats_it_on_every_page(
    stocked: tuple[Ngc, Shell],
) -> None:
    _, shell = stocked
    assert names(shell("search", "--sort", "popular")) == [
        "nvcr.io/nvidia/cuda", "nvcr.io/nvidia/pytorch", "nvcr.io/hpc/gromacs",
        "nvcr.io/nvidia/clara/bionemo",
    ]  # fmt: skip


def test_a_space_or_a_team_alone_can_be_searched(stocked: tuple[Ngc, Shell]) -> None:
    _, shell = stocked
    assert names(shell("search", "--space", "hpc")) == ["nvcr.io/hpc/gromacs"]
    assert names(shell("search", "--space", "nvidia/clara")) == ["nvcr.io/nvidia/clara/bionemo"]


def test_the_newest_come_first_when_asked_for_by_date(stocked: tuple[Ngc, Shell]) -> None:
    said = shell_json(stocked[1], "search", "--sort", "date", "--limit", "2")
    assert said[0]["repository"] == "nvidia/cuda"
    assert said[0]["updated"] == "2026-03-01T00:00:00Z"
    assert len(said) == 2


def shell_json(shell: Shell, *words: str, **options: Any) -> Any:
    """What a command prints as JSON."""
    done = shell.run(*words, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_own_space_is_searched_with_the_key_and_others_as_a_guest(
    stocked: tuple[Ngc, Shell],
) -> None:
    server, shell = stocked
    said = shell("search", "--space", "acme/team", variables=WITH_KEY)
    assert names(said) == ["nvcr.io/acme/team/secret"]
    assert server.paths("/v2/search/org/acme/team/team/resources/CONTAINER")
    server.seen.clear()
    shell("search", "--space", "hpc", variables=WITH_KEY)
    assert keys_sent_to(server) == set()


def test_a_space_that_the_key_does_not_open_is_searched_as_everybody_may(
    stocked: tuple[Ngc, Shell],
) -> None:
    server, shell = stocked
    server.add_resource("other/thing")
    said = shell("search", "--space", "other", variables={"NGC_API_KEY": "nvapi-unknown"})
    assert "nvcr.io/other/thing" in said
    assert "warning: only what other shows to everybody" in said


def test_a_legacy_key_is_exchanged_and_does_not_reach_the_catalogue_itself(
    stocked: tuple[Ngc, Shell],
) -> None:
    server, shell = stocked
    shell("search", "--space", "acme/team", variables={"NGC_API_KEY": LEGACY_KEY})
    basic = {host for host, _, headers in server.seen if "Basic" in headers.get("Authorization", "")}  # fmt: skip
    assert basic == {TOKENS}
    assert server.paths("/token") == [
        "/token?service=ngc&scope=group/ngc:acme&scope=group/ngc:acme/team"
    ]
    tokens = {headers.get("Authorization") for host, _, headers in server.seen if host == API}
    assert tokens == {"Bearer api-token-0"}


def test_what_ngc_wants_its_users_to_read_is_shown_once(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    server.notice = "maintenance on Sunday\x1b[2J"
    said = shell("search", "--sort", "popular")
    assert said.count("warning: NGC says: maintenance on Sunday [2J") == 1


def test_words_of_strangers_cannot_command_the_terminal(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    server.add_resource("nvidia/evil", displayName="a\x1b]0;title\x07b\u202ec\nd", description=7)
    server.add_resource("nvidia/../../etc")
    server.add_resource("evil.example/nvidia/cuda/more")
    said = shell("search", "evil")
    assert "a ]0;title b c d" in said
    assert not any(ord(c) < 32 and c != "\n" for c in said)
    assert "etc" not in said
    assert "more" not in said


def test_spaces_are_counted_and_ones_own_come_first(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    said = shell("spaces", variables=WITH_KEY)
    lines = [line.split() for line in said.splitlines()]
    assert lines[1][:3] == ["nvcr.io/acme", "1", "yours"]
    assert lines[2][:3] == ["nvcr.io/acme/team", "1", "yours"]
    assert ["nvcr.io/nvidia", "3", "public"] in [line[:3] for line in lines]
    assert ["nvcr.io/hpc", "1", "public"] in [line[:3] for line in lines]
    assert keys_sent_to(server) == {API}


def test_a_guest_sees_the_public_spaces(stocked: tuple[Ngc, Shell]) -> None:
    said = shell_json(stocked[1], "spaces")
    assert {space["name"] for space in said} >= {"nvidia", "hpc", "nvidia-hpcvis"}
    assert not any(space["is_own"] for space in said)


def test_spaces_with_a_wrong_key_say_so_and_show_the_public_ones(
    stocked: tuple[Ngc, Shell],
) -> None:
    said = stocked[1]("spaces", variables={"NGC_API_KEY": "nvapi-unknown"})
    assert "your own spaces are not shown: NGC does not accept your key" in said
    assert "nvcr.io/nvidia " in said


def test_tags_come_with_date_size_platforms_and_signature(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    server.images["nvidia/pytorch"] = [
        tag("24.03-py3", 3), tag("24.05-py3", 20, signed=True), tag("24.04-py3", 9, releaseType="BETA"),
        tag("24.05-py3-igpu", 21),
    ]  # fmt: skip
    said = shell("tags", "nvcr.io/nvidia/pytorch", "--filter", "24.*-py3")
    assert names(said) == ["24.05-py3", "24.04-py3", "24.03-py3"]
    assert "24.05-py3  2026-01-20  9GB   amd64,arm64  yes" in said
    assert "BETA" in said
    assert len(server.paths("/images")) == 2
    document = shell_json(shell, "tags", "nvcr.io/nvidia/pytorch", "--limit", "1")
    assert document[0]["tag"] == "24.05-py3-igpu"
    assert document[0]["platforms"][1]["platform"] == "linux/arm64"


def test_tags_of_a_private_repository_are_asked_for_with_the_key(
    stocked: tuple[Ngc, Shell],
) -> None:
    server, shell = stocked
    server.images["acme/team/secret"] = [tag("1.0", 1)]
    assert "1.0" in shell("tags", "nvcr.io/acme/team/secret", variables=WITH_KEY)
    assert server.paths("/v2/org/acme/team/team/repos/secret/images")


def test_tags_that_the_catalogue_hides_are_listed_by_the_registry_itself(
    stocked: tuple[Ngc, Shell],
) -> None:
    server, shell = stocked
    server.resources.pop("nvidia/pytorch")
    said = shell("tags", "nvcr.io/nvidia/pytorch")
    assert "warning: names only, without sizes and dates" in said
    assert "24.05-py3\n" in said


def test_tags_of_a_repository_that_is_not_there(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    server.public.add("nvidia/nothing")
    said = shell("tags", "nvcr.io/nvidia/nothing", code=125)
    assert "error[not-in-registry]" in said
    assert "sampan search" in said


@pytest.mark.parametrize(
    "name",
    [
        "nvcr.io/nvidia/pytorch",
        "https://catalog.ngc.nvidia.com/orgs/nvidia/containers/pytorch",
        "nvcr.io#nvidia/pytorch",
    ],
)
@pytest.mark.parametrize("command", ["pull", "about"])
def test_a_name_without_a_tag_gets_the_newest_tags_as_suggestions(
    stocked: tuple[Ngc, Shell], command: str, name: str
) -> None:
    server, shell = stocked
    server.images["nvidia/pytorch"] = [tag("24.04-py3", 3), tag("24.05-py3", 20), tag("24.05-py3-igpu", 21)]  # fmt: skip
    said = shell(command, name, code=125)
    assert "error[tag-missing]" in said
    assert "of 3 tags the newest are 24.05-py3-igpu, 24.05-py3, 24.04-py3" in said
    assert "remedy:   nvcr.io/nvidia/pytorch:24.05-py3 " in said
    assert server.paths("/manifests/") == []


def test_the_address_of_a_page_with_a_version_is_pulled(stocked: tuple[Ngc, Shell]) -> None:
    page = "https://catalog.ngc.nvidia.com/orgs/nvidia/-/containers/cuda/12"
    assert "nvcr.io/nvidia/cuda:12" in stocked[1]("pull", page)


def test_about_tells_an_image_without_fetching_it(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    said = shell("about", "nvcr.io/nvidia/pytorch:24.05-py3")
    for line in (
        "catalogue  Pytorch (published by NVIDIA)",
        "platform   linux/amd64: ",
        "platform   linux/arm64: ",
        "B to fetch, 1 layer\n",
        "CUDA       12.4.1",
        "needs      a driver for CUDA 12.4 or newer (driver 550 or newer); or driver 470 with a GPU",
        "it brings compatibility libraries",
        "signed     yes (not verified: --key FILE)",
    ):
        assert line in said
    assert {headers.get("Authorization", "")[:5] for _, path, headers in server.seen if "signature=" in path} <= {""}  # fmt: skip
    assert not any("layer" in path for path in server.paths("/blobs/"))
    document = shell_json(shell, "about", "nvcr.io/nvidia/pytorch:24.05-py3", "--platform", "arm64")
    assert document["platform"] == "linux/arm64"
    assert document["signatures"] == ["cosign"]


def test_about_holds_the_signature_against_a_key(
    stocked: tuple[Ngc, Shell], ngc_storage: Any, tmp_path: Path
) -> None:
    _, shell = stocked
    image = "nvcr.io/nvidia/pytorch:24.05-py3"
    key = str(ngc_storage.image_key)
    assert "signed     yes, confirmed by the key" in shell("about", "--key", key, image)
    other = tmp_path / "other.pem"
    other.write_bytes(ngc_storage.signer.public_key())
    said = shell("about", "--key", str(other), image, code=125)
    assert "error[signature]" in said
    assert "by another key" in said
    said = shell("about", "--key", key, "nvcr.io/nvidia/cuda:12", code=125)
    assert "the registry has no signature of it" in said
    other.write_text("no key")
    assert "error[public-key]" in shell("about", "--key", str(other), image, code=125)


def test_a_signature_that_hangs_on_the_image_as_a_referrer_is_a_claim(
    stocked: tuple[Ngc, Shell],
) -> None:
    server, shell = stocked
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": sha256(one.encode()), "size": 1, "artifactType": one}
        for one in (kind, "x/y")
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    server.intercept = lambda handler: bool(
        "/referrers/" in handler.path
        and handler.answer(200, {"Content-Type": OCI_INDEX}, index.encode()) is None
    )
    document = shell_json(shell, "about", "nvcr.io/nvidia/cuda:12")
    assert document["signatures"] == [kind]
    assert document["verified_digest"] == ""


TERMS = {
    "licenseId": "nvaie", "licenseVersion": "2.1", "needsAcceptance": True,
    "licenseName": "Product Terms", "governingTerms": "Be good.\nRead https://example.com/eula\x1b[2J",
}  # fmt: skip


@pytest.mark.parametrize("place", ["token", "manifests"])
def test_terms_stand_in_the_way_until_they_are_read_and_accepted(
    stocked: tuple[Ngc, Shell], place: str
) -> None:
    server, shell = stocked
    image = "nvcr.io/acme/team/secret:12"
    server.repositories["acme/team/secret"] = {"licenseTerms": [dict(TERMS)]}
    server.refusals[place, "acme/team/secret"] = 412
    said = shell("pull", image, variables=WITH_KEY, code=125)
    assert "error[registry-terms]" in said
    assert "sampan accept-license nvcr.io/acme/team/secret" in said
    said = shell("accept-license", image, variables=WITH_KEY, code=125)
    assert "Product Terms, version 2.1" in said
    assert "Read https://example.com/eula" in said
    assert "\x1b" not in said
    assert "no terminal to ask on" in said
    assert server.accepted == []
    assert "accepted" in shell("accept-license", "--yes", image, variables=WITH_KEY)
    assert server.accepted == [("acme/team/secret", "nvaie", "2.1")]
    assert "accepted already" in shell("accept-license", image, variables=WITH_KEY)
    assert "3 of 3 layers to fetch" in shell("pull", image, variables=WITH_KEY)


@pytest.mark.parametrize(("typed", "accepted"), [("y", 1), ("n", 0), ("", 0)])
def test_terms_are_accepted_by_who_says_so_at_the_terminal(
    stocked: tuple[Ngc, Shell], typed: str, accepted: int
) -> None:
    server, shell = stocked
    server.repositories["acme/team/secret"] = {"licenseTerms": [dict(TERMS)]}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sampan", "accept-license", "nvcr.io/acme/team/secret"]
    environment = {**shell.environment, **WITH_KEY}
    with subprocess.Popen(
        command, env=environment, start_new_session=True, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while b"[y/N] " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, typed.encode() + b"\n")
        with contextlib.suppress(OSError):
            while data := os.read(ours, 1000):
                shown += data
    os.close(ours)
    assert b"Be good." in shown
    assert process.returncode == 1 - accepted
    assert len(server.accepted) == accepted


def test_terms_are_not_accepted_by_nobody(stocked: tuple[Ngc, Shell]) -> None:
    said = stocked[1]("accept-license", "--yes", "nvcr.io/acme/team/secret", code=125)
    assert "sampan login nvcr.io" in said


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "NGC does not let you"),
        (451, "in your region"),
        (500, "at the moment"),
        (400, "cannot search"),
    ],
)
def test_what_the_catalogue_refuses_is_told_apart(
    stocked: tuple[Ngc, Shell], status: int, words: str
) -> None:
    server, shell = stocked
    server.intercept = lambda handler: bool(
        handler.headers["Host"] == API
        and handler.answer(status, {"Retry-After": "0"}, b'{"detail": "because\\u001b[2J"}') is None
    )
    said = shell("search", "--space", "acme", "x", code=125)
    assert words in said
    assert "because" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("body", [b"<html>proxy</html>", b"[]", b'{"results": 7}', b"{" * 9999])
def test_an_answer_that_is_no_catalogue_is_an_error_or_nothing(
    stocked: tuple[Ngc, Shell], body: bytes
) -> None:
    server, shell = stocked
    server.intercept = lambda handler: handler.answer(200, {}, body) is None
    code = 0 if b"results" in body else 125
    said = shell("search", "x", code=code)
    assert "nothing found" in said or "NGC's answer cannot be read" in said


def test_the_key_does_not_follow_the_catalogue_to_another_host(stocked: tuple[Ngc, Shell]) -> None:
    server, shell = stocked
    server.intercept = lambda handler: bool(
        handler.headers["Host"] == API
        and handler.answer(302, {"Location": f"https://{STRANGER}/steal"}) is None
    )
    shell("search", "--space", "acme", variables=WITH_KEY, code=125)
    assert STRANGER not in keys_sent_to(server)
    assert {host for host, _, _ in server.seen} == {API, STRANGER}


def hub_tag(name: str, day: int) -> dict[str, Any]:
    """A tag as Docker Hub lists it."""
    images = [
        {"architecture": a, "os": "linux", "variant": v, "size": 100_000_000 + day, "digest": "x"}
        for a, v in (("amd64", None), ("arm64", "v8"), ("unknown", None))
    ]
    return {"name": name, "digest": f"sha256:{day:064x}", "full_size": 1, "images": images,
            "last_updated": f"2026-01-{day:02}T01:02:03.456789Z"}  # fmt: skip


def test_docker_hub_is_searched_as_a_guest(ngc: tuple[Ngc, Shell]) -> None:
    server, shell = ngc
    server.hub["/v2/search/repositories/"] = [
        {"repo_name": "nvidia/cuda", "short_description": "CUDA", "pull_count": 9, "is_official": False},
        {"repo_name": "debian", "short_description": "the OS", "pull_count": 99, "is_official": True},
        {"repo_name": "UPPER/case", "short_description": "?"},
    ]  # fmt: skip
    login = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {"docker.io": {"auth": "dTpw"}}})}
    found = shell_json(shell, "search", "--registry", "docker.io", "cuda", variables=login)
    assert [one["repository"] for one in found] == ["nvidia/cuda", "library/debian"]
    assert [one["is_official"] for one in found] == [False, True]
    assert {host for host, _, _ in server.seen} == {HUB}
    assert keys_sent_to(server) == set()


def test_docker_hub_lists_a_space_and_its_tags_with_sizes(ngc: tuple[Ngc, Shell]) -> None:
    server, shell = ngc
    server.hub["/v2/repositories/nvidia/"] = [{"name": "cuda", "description": "CUDA images"}]
    server.hub["/v2/repositories/nvidia/cuda/tags"] = [hub_tag(f"12.{n}", 30 - n) for n in range(5)]
    assert names(shell("search", "--registry", "docker.io", "--space", "nvidia")) == [
        "docker.io/nvidia/cuda"
    ]
    said = shell("tags", "docker.io/nvidia/cuda", "--limit", "3")
    assert names(said)[:3] == ["12.0", "12.1", "12.2"]
    assert "12.0  2026-01-30  100MB  amd64,arm64/v8" in said
    assert "3 are shown" in said
    # Two a page: the third was not needed.
    assert len(server.paths("/cuda/tags")) == 2


def test_docker_hub_wants_a_term(ngc: tuple[Ngc, Shell]) -> None:
    assert "something to search for" in ngc[1]("search", "--registry", "docker.io", code=125)


def test_a_registry_in_front_of_the_term_is_understood(stocked: tuple[Ngc, Shell]) -> None:
    """docker's and podman's users write it there."""
    _, shell = stocked
    assert names(shell("search", "nvcr.io/nvidia/pytorch")) == ["nvcr.io/nvidia/pytorch"]
    said = shell("search", "docker.io/nvidia", code=125)
    assert "sampan search --registry docker.io nvidia" in said
    said = shell("search", "registry.example/team", code=125)
    assert "registry.example has no catalogue" in said


def test_signatures_are_not_suggested_as_images(stocked: tuple[Ngc, Shell]) -> None:
    said = stocked[1]("pull", "nvcr.io/nvidia/pytorch:latest", code=125)
    assert "of its 2 tags some are: 24.0" in said
    assert ".sig" not in said
