"""Apptainer, the real one of Debian sid, runs the file of an image as it is."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.apptainer_peer import apptainer_peer

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def apptainer():
    """Call apptainer as an ordinary user with a directory of ours visible to it."""
    with apptainer_peer() as peer:
        yield peer


@pytest.fixture(scope="module")
def image(apptainer) -> Path:
    """The SIF of an image with ENTRYPOINT, CMD and ENV that are hard to quote."""
    rootfs = apptainer.directory / "rootfs.tar"
    made = subprocess.run(
        [ROOT / "scripts" / "debian-rootfs", "--variant=essential", "bookworm", rootfs],
        capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"no Debian mirror answers: {made.stderr.strip().splitlines()[-1]}")
    store = apptainer.directory / "store"
    environment = {**os.environ, "SAMPAN_STORE": str(store)}
    changes = [
        'ENTRYPOINT ["printf", "<%s>"]',
        'CMD ["a b", "$HOME", "it\'s \\"quoted\\""]',
        "ENV GREETING=good\\ morning",
    ]
    arguments = [word for change in changes for word in ("--change", change)]
    subprocess.run(
        ["sampan", "import", "--quiet", *arguments, str(rootfs), "peer"],
        env=environment, check=True,
    )  # fmt: skip
    shown = subprocess.run(
        ["sampan", "inspect", "--type", "image", "peer"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (description,) = json.loads(shown.stdout)
    return Path(description["Sampan"]["File"])


def test_exec_runs_a_command_of_the_image(apptainer, image):
    said = apptainer("exec", str(image), "cat", "/etc/os-release")
    assert "VERSION_CODENAME=bookworm" in said


def test_run_gives_entrypoint_and_command_word_for_word(apptainer, image):
    assert apptainer("run", str(image)) == '<a b><$HOME><it\'s "quoted">'


def test_arguments_replace_the_command(apptainer, image):
    assert apptainer("run", str(image), "x  y", "z") == "<x  y><z>"


def test_the_environment_of_the_image_is_set(apptainer, image):
    assert apptainer("exec", str(image), "printenv", "GREETING") == "good morning\n"


def test_inspect_shows_the_image_configuration(apptainer, image):
    assert "peer" in apptainer("inspect", "--deffile", str(image))
