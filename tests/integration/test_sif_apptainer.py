"""SIF files between Apptainer and us: each lists, verifies and runs what the other has made."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.cli.main import main
from sampan.images.sif import open_sif
from sampan.images.sif_words import describe_header, describe_object, group_word
from support.apptainer_peer import Apptainer, apptainer_peer

pytestmark = pytest.mark.integration

PEER = 4242
"""The user that apptainer runs as."""


@pytest.fixture(scope="module")
def apptainer() -> Iterator[Apptainer]:
    with apptainer_peer() as peer:
        keys = peer.directory / "keys"
        keys.mkdir(mode=0o700)
        os.chown(keys, PEER, PEER)
        yield peer


@pytest.fixture(scope="module")
def image(apptainer: Apptainer) -> Path:
    """A SIF of ours with a shell in it."""
    root = apptainer.directory / "root"
    (root / "bin").mkdir(parents=True)
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox-static is not installed")
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "cat", "echo", "printenv", "test", "ls", "sed", "grep"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    store = {"SAMPAN_STORE": str(apptainer.directory / "store")}
    name = ["--change", 'CMD ["echo", "it runs"]', "--change", "LABEL made=here"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMPAN_STORE", store["SAMPAN_STORE"])
        assert main(["import", "-q", *name, str(root), "peer:1"]) == 0
        assert main(["sif", "build", "-q", str(apptainer.directory / "ours.sif"), "peer:1"]) == 0
    return apptainer.directory / "ours.sif"


@pytest.fixture
def copy(apptainer: Apptainer, image: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy that either side may change."""
    path = apptainer.directory / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}.sif"
    shutil.copy(image, path)
    path.chmod(0o666)
    yield path
    path.unlink()


@pytest.fixture
def gpg_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """A key ring of our own, and gpg on it."""
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    # A socket's path has 108 bytes at most.
    home = Path(f"/tmp/sampan-gpg-{os.getpid()}")
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))

    def gpg(*words: str) -> str:
        return subprocess.run(
            ["gpg", "--batch", "--quiet", *words], check=True, capture_output=True, text=True
        ).stdout

    yield gpg
    subprocess.run(["gpgconf", "--kill", "all"], capture_output=True)
    shutil.rmtree(home)


def make_keys(place: Path, kind: str) -> tuple[Path, Path]:
    options = {
        "ed25519": ["-algorithm", "ed25519"],
        "p256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "p384": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    }[kind]
    (private, public) = (place / f"{kind}.pem", place / f"{kind}.pub")
    subprocess.run(["openssl", "genpkey", *options, "-out", private], check=True, capture_output=True)  # fmt: skip
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    private.chmod(0o644)
    return private, public


def parse_facts(text: str) -> dict[str, str]:
    """Lines of ``Title: value``, as both print them."""
    rows = (line.strip().partition(":") for line in text.splitlines() if ":" in line)
    return {title: value.strip() for title, _, value in rows}


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "rsa"])
def test_apptainer_verifies_what_we_sign_and_we_what_it_signs(
    apptainer: Apptainer, copy: Path, kind: str
) -> None:
    private, public = make_keys(apptainer.directory, kind)
    ours = copy.with_name(f"ours-{kind}.sif")
    shutil.copy(copy, ours)
    assert main(["sif", "sign", "--key", str(private), str(ours)]) == 0
    apptainer("verify", "--key", public, ours)
    apptainer("sign", "--key", private, copy)
    assert main(["sif", "verify", "--key", str(public), str(copy)]) == 0


def test_both_sides_refuse_the_same_change(apptainer: Apptainer, copy: Path) -> None:
    private, public = make_keys(apptainer.directory, "ed25519")
    assert main(["sif", "sign", "--key", str(private), str(copy)]) == 0
    partition = open_sif(copy).objects[2]
    data = bytearray(copy.read_bytes())
    data[partition.offset + partition.size - 100] ^= 1
    copy.write_bytes(data)
    assert apptainer.run("verify", "--key", public, copy).returncode != 0
    assert main(["sif", "verify", "--key", str(public), str(copy)]) == 1


def test_openpgp_signatures_go_both_ways(
    apptainer: Apptainer, copy: Path, gpg_home: Callable[..., str]
) -> None:
    gpg_home("--passphrase", "", "--quick-gen-key", "Us <us@example.org>", "rsa2048", "default", "never")  # fmt: skip
    public = apptainer.directory / "us.asc"
    public.write_text(gpg_home("--armor", "--export", "us@example.org"))
    apptainer("key", "import", public)
    theirs = copy.with_name("theirs.sif")
    shutil.copy(copy, theirs)
    theirs.chmod(0o666)
    assert main(["sif", "sign", str(copy)]) == 0
    apptainer("verify", "--local", copy)
    assert main(["sif", "verify", str(copy)]) == 0

    apptainer("key", "newpair", "-b", "2048", "-N", "Them", "-E", "them@example.org", "-C", "", "-P", "", "--push=false")  # fmt: skip
    apptainer("sign", theirs)
    assert main(["sif", "verify", str(theirs)]) == 1
    gpg_home("--import", str(apptainer.directory / "keys/pgp-public"))
    assert main(["sif", "verify", str(theirs)]) == 0


def test_both_show_the_same_of_a_file_with_every_kind_of_object(
    apptainer: Apptainer, copy: Path
) -> None:
    note = apptainer.directory / "note"
    note.write_text("{}")
    for words in (
        ("--datatype", "2"),
        ("--datatype", "3", "--groupid", "1"),
        ("--datatype", "6", "--link", "3", "--filename", "some.json"),
        ("--datatype", "7", "--groupid", "2"),
        ("--datatype", "9", "--sbomformat", "spdx-json"),
        ("--datatype", "4", "--partfs", "2", "--parttype", "4", "--partarch", "2"),
    ):
        apptainer("sif", "add", *words, copy, note)
    found = open_sif(copy)
    assert len(found.objects) == 9
    for item in found.objects:
        theirs = parse_facts(apptainer("sif", "info", str(item.identity), copy))
        ours = describe_object(item)
        assert {title: ours[title] for title in theirs} == theirs
    header = parse_facts(apptainer("sif", "header", copy))
    ours = describe_header(found)
    del header["Descriptors Size"], header["Data Size"]  # theirs are rounded
    assert {title: ours[title] for title in header} == header


def test_apptainer_reads_what_we_add_and_delete(apptainer: Apptainer, copy: Path) -> None:
    note = apptainer.directory / "added"
    note.write_text("words of ours\n")
    overlay = apptainer.directory / "overlay.img"
    overlay.write_bytes(bytes(8192))
    assert main(["sif", "add", "--datatype", "7", str(copy), str(note)]) == 0
    partition = ["--datatype", "4", "--partfs", "2", "--parttype", "4", "--partarch", "amd64"]
    assert main(["sif", "add", *partition, str(copy), str(overlay)]) == 0
    assert apptainer("sif", "dump", "4", copy) == "words of ours\n"
    assert "FS (Ext3/Overlay/amd64)" in apptainer("sif", "list", copy)
    assert main(["sif", "del", "4", str(copy)]) == 0
    assert main(["sif", "del", "5", str(copy)]) == 0
    found = open_sif(copy)
    assert [item.identity for item in found.objects] == [1, 2, 3]
    assert parse_facts(apptainer("sif", "header", copy))["Descriptors Free"] == "45"
    assert apptainer("run", copy) == "it runs\n"


def test_inspect_says_what_apptainer_says(
    apptainer: Apptainer, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (
        "--labels",
        "--deffile",
        "--runscript",
        "--startscript",
        "--environment",
        "--all",
    ):
        theirs = json.loads(apptainer("inspect", "--json", option, image))
        capsys.readouterr()
        assert main(["sif", "inspect", "--json", option, str(image)]) == 0
        ours = json.loads(capsys.readouterr().out)
        assert ours["data"]["attributes"] == theirs["data"]["attributes"]


def test_a_file_that_apptainer_built_is_read_and_goes_back(
    apptainer: Apptainer, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``apptainer build`` of our OCI archive, and our archive of its file, are one image."""
    place = apptainer.directory
    monkeypatch.setenv("SAMPAN_STORE", str(place / "store"))
    archive = place / "peer.oci.tar"
    assert main(["sif", "build", "-q", "--to", "oci-archive", str(archive), "peer:1"]) == 0
    built = place / "keys/built.sif"
    done = apptainer.run("build", built, f"oci-archive:{archive}")
    if done.returncode != 0:
        pytest.skip(f"apptainer cannot build here: {done.stderr.strip().splitlines()[-1]}")
    assert [group_word(item) for item in open_sif(built).objects] == ["1"] * len(
        open_sif(built).objects
    )
    again = place / "again.sif"
    assert main(["sif", "build", "-q", "--compression", "zstd", str(again), str(built)]) == 0
    assert apptainer("run", again) == apptainer("run", built) == "it runs\n"
    back = place / "back.tar"
    assert main(["sif", "build", "-q", "--to", "docker-archive", str(back), str(built)]) == 0
    assert main(["import", "-q", str(back), "back:1"]) == 0
