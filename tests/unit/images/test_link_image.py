"""Linking as its caller sees it: facts out of real packs, refusals, and what a crash leaves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.images.link import LinkError, link_image
from sampan.images.sif import open_sif
from sampan.model.layer import PackIndex
from support.layer_stacks import CONFIG, DIGEST, Item, link_tars, make_tar

BANNER = b"GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"


def layer(compression: str = "zstd") -> PackIndex:
    return PackIndex(compression, DIGEST, DIGEST, 0, 0, [], [], [])


def empty_pack(directory: Path) -> Path:
    path = directory / "empty.pack"
    path.touch()
    return path


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_facts_are_read_from_the_packs_whichever_layer_holds_the_file(
    tmp_path: Path, compression: str
) -> None:
    lower = [
        Item("lib64/libc.so.6", content=bytes(300_000) + BANNER + bytes(90_000)),
        Item("lib64/ld-linux-x86-64.so.2", content=b"loader"),
        Item("etc/passwd", content=b"old:x:0:0::/:\n"),
        Item("usr/lib64/libcuda.so.1"),
    ]
    upper = [
        Item("etc/passwd", content=b"new:x:0:0::/:\n"),
        Item("bin/sh", content=b"#", mode=0o755),
    ]
    _, facts = link_tars(tmp_path, [make_tar(lower), make_tar(upper)], compression=compression)
    assert (facts.libc, facts.libc_version) == ("glibc", "2.36")
    assert facts.passwd == "new:x:0:0::/:\n"
    assert facts.shell == "/bin/sh"
    assert facts.libraries == {"/usr/lib64/libcuda.so.1": 0}
    assert facts.digest == DIGEST
    assert "/tmp" in facts.directories, "made by us, since bind mounts need it"


def test_the_sif_carries_the_run_part_of_the_configuration(tmp_path: Path) -> None:
    config = {"architecture": "arm64", "os": "linux", "config": {"Cmd": ["sh"], "Unknown": [1]}}
    sif, _ = link_tars(tmp_path, [make_tar([Item("f")])], config=config)
    described = open_sif(sif)
    item = next(item for item in described.objects if item.name == "oci-config.json")
    data = sif.read_bytes()[item.offset : item.offset + item.size]
    assert json.loads(data) == {"Cmd": ["sh"], "Unknown": [1]}
    assert described.architecture == "arm64"
    assert os.access(sif, os.X_OK)


def test_a_link_that_a_layer_hides_is_told_to_whoever_links(tmp_path: Path) -> None:
    lower = make_tar([Item("usr/lib/f"), Item("lib", "symlink", link="usr/lib")])
    told: list[str] = []
    link_tars(tmp_path, [lower, make_tar([Item("lib/g")])], warn=told.append)
    assert len(told) == 1
    assert "hides the link lib -> usr/lib with a directory" in told[0]


def test_layers_of_another_compression_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="packed with gzip, the image wants zstd"):
        link_image(
            [(layer("gzip"), empty_pack(tmp_path))], b"{}", tmp_path / "i.sif", digest=DIGEST
        )


@pytest.mark.parametrize("config", [b"", b"{", b"[]", b"\xff"])
def test_a_configuration_that_is_no_json_object_is_refused(tmp_path: Path, config: bytes) -> None:
    with pytest.raises(LinkError, match="configuration is not"):
        link_image([(layer(), empty_pack(tmp_path))], config, tmp_path / "i.sif", digest=DIGEST)


def test_a_failed_link_leaves_the_image_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "image.sif"
    target.write_bytes(b"the old image")
    broken = [Item("bad", "hardlink", link="nowhere")]
    with pytest.raises(Exception, match="hard link to 'nowhere'"):
        link_tars(tmp_path, [make_tar(broken)])
    assert target.read_bytes() == b"the old image"
    assert not list(tmp_path.glob(".tmp-*"))


CRASH = """
import os, signal, sys
from pathlib import Path
from sampan.images.link import link_image
from sampan.model.layer import PackIndex

os.fdatasync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
pack = PackIndex("zstd", "", "", 0, 0, [], [], [])
directory = Path(sys.argv[1])
link_image([(pack, directory / "empty.pack")], b"{}", directory / "i.sif", digest="sha256:0")
"""


def test_kill_9_while_linking_leaves_no_image_under_its_name(tmp_path: Path) -> None:
    empty_pack(tmp_path)
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[1:] == ["empty.pack"]
    assert left[0].startswith(".tmp-")
    link_image(
        [(layer(), tmp_path / "empty.pack")],
        json.dumps(CONFIG).encode(),
        tmp_path / "i.sif",
        digest=DIGEST,
    )
    assert open_sif(tmp_path / "i.sif").objects
