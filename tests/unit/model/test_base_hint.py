"""What labels and history let on about an image's base, and what they do not."""

from typing import Any

import pytest

from sampan.model.base_hint import BaseHint, guess_base
from sampan.model.image import parse_image_config


def hint(history: list[str], labels: dict[str, str] | None = None) -> BaseHint:
    document: dict[str, Any] = {
        "history": [{"created_by": line} for line in history],
        "config": {"Labels": labels or {}},
    }
    return guess_base(parse_image_config(document))


@pytest.mark.parametrize(
    ("history", "name", "libc"),
    [
        ("ADD alpine-minirootfs-3.22.1-x86_64.tar.gz / # buildkit", "alpine 3.22.1", "musl"),
        ("# debian.sh --arch 'amd64' out/ 'bookworm' '@1755000000'", "debian bookworm", "glibc"),
        ("ADD file:1b2 in / ubuntu-noble-oci-amd64-root.tar.gz", "ubuntu noble", "glibc"),
    ],
)
def test_the_history_of_official_images_tells(history: str, name: str, libc: str) -> None:
    found = hint([history])
    assert found == BaseHint(name, libc)


def test_ubuntus_labels_tell_as_they_are_in_ngcs_images() -> None:
    labels = {
        "org.opencontainers.image.ref.name": "ubuntu",
        "org.opencontainers.image.version": "22.04",
    }
    assert hint(["/bin/sh -c #(nop) CMD"], labels) == BaseHint("ubuntu 22.04", "glibc")


def test_red_hats_labels_tell() -> None:
    labels = {"com.redhat.component": "ubi9-container", "name": "ubi9/ubi", "version": "9.4"}
    assert hint([], labels) == BaseHint("ubi9/ubi 9.4", "glibc")


def test_without_a_word_nothing_is_claimed() -> None:
    assert hint(["COPY . / # buildkit"]) == BaseHint()
    assert hint([], {"org.opencontainers.image.base.name": "registry.example/own:1"}).libc == ""


def test_control_characters_of_a_label_are_dropped() -> None:
    labels = {"org.opencontainers.image.base.name": "debian\x1b[2J:12"}
    assert hint([], labels).name == "debian[2J:12"


@pytest.mark.parametrize("history", [None, 7, [7], [{"created_by": None}], "x"])
def test_a_history_that_is_none_says_nothing(history: object) -> None:
    assert guess_base(parse_image_config({"history": history})) == BaseHint()
