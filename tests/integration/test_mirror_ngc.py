"""A space of NGC's into a registry of one's own, as the field recorded NGC."""

import json
from collections.abc import Iterator

import pytest

from support.ngc_server import Ngc
from support.push_server import PushServer, push_server
from support.registries import NGC_KEY
from support.sampan_shell import Shell

pytestmark = pytest.mark.integration


@pytest.fixture
def site() -> Iterator[PushServer]:
    """The registry of a site, which wants no credentials."""
    with push_server() as served:
        yield served


def stock(server: Ngc) -> None:
    """A catalogue of what the registry has, with dates."""
    server.add_resource("nvidia/cuda", weightPopular=2)
    server.add_resource("nvidia/pytorch", weightPopular=1)
    for repository, tags in (("cuda", ["12"]), ("pytorch", ["24.05-py3", "24.04-py3"])):
        server.images[f"nvidia/{repository}"] = [
            {"tag": tag, "pushedDate": f"2024-0{len(tags) - n}-01T00:00:00.000Z"}
            for n, tag in enumerate(tags)
        ]


def test_a_space_is_mirrored_and_the_next_day_only_what_is_new(
    ngc: tuple[Ngc, Shell], site: PushServer
) -> None:
    server, shell = ngc
    stock(server)
    words = ("mirror", "--json", "nvcr.io/nvidia/", f"{site.host}/ngc")
    first = json.loads(shell.run(*words, variables={"NGC_API_KEY": NGC_KEY}).stdout)
    assert {(one["source"], one["outcome"]) for one in first} == {
        ("nvcr.io/nvidia/cuda:12", "copied"),
        ("nvcr.io/nvidia/pytorch:24.04-py3", "copied"),
        ("nvcr.io/nvidia/pytorch:24.05-py3", "copied"),
    }
    index = site.manifests["ngc/nvidia/pytorch", "24.05-py3"][1]
    assert len(json.loads(index)["manifests"]) == 2
    uploads = site.count("POST")
    again = json.loads(shell.run(*words).stdout)
    assert {one["outcome"] for one in again} == {"present"}
    assert site.count("POST") == uploads
    # NGC's key stays with NGC.
    assert not any("Authorization" in headers for _, _, headers in site.seen)


def test_the_newest_tags_of_each_are_chosen(ngc: tuple[Ngc, Shell], site: PushServer) -> None:
    server, shell = ngc
    stock(server)
    words = ("mirror", "--dry-run", "nvcr.io/nvidia/", f"{site.host}/ngc")
    said = shell(*words, "--limit", "1")
    assert "24.05-py3" in said
    assert "24.04-py3" not in said
    assert "2 wanted" in said
    assert "nothing fits" in shell(*words, "--newer-than", "1d")
    assert site.manifests == {}


def test_what_signs_an_image_of_ngcs_is_listed(ngc: tuple[Ngc, Shell]) -> None:
    _, shell = ngc
    listed = shell("referrers", "nvcr.io/nvidia/pytorch:24.05-py3")
    assert ".sig" in listed
    assert "signature" in listed


def test_a_gated_repository_does_not_stop_the_others(
    ngc: tuple[Ngc, Shell], site: PushServer
) -> None:
    _, shell = ngc
    said = shell(
        "mirror", "nvcr.io/acme/team/secret:12", "nvcr.io/nvidia/cuda:12", f"{site.host}/ngc",
        code=1,
    )  # fmt: skip
    assert "failed: nvcr.io/acme/team/secret:12" in said
    assert "1 copied, 1 failed" in said
    assert ("ngc/nvidia/cuda", "12") in site.manifests
