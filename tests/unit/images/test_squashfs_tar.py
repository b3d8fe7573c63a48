"""A squashfs image becomes the tar of its tree; hostile images are refused."""

import io
import os
import random
import stat
import tarfile
from pathlib import Path

import pytest

from sampan.errors import SampanError
from sampan.images.squashfs.tar_stream import SquashfsLayer
from sampan.model.source import SourceError
from support.sif_files import make_squashfs
from support.trees import make_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tree(tmp_path_factory.mktemp("tree") / "root")
    (root / ("long/" * 30)).mkdir(parents=True)
    (root / ("long/" * 30) / ("n" * 120)).write_bytes(b"deep")
    (root / "far").symlink_to("t/" * 150)
    return root


def layer_of(path: Path, **words: object) -> SquashfsLayer:
    return SquashfsLayer("a layer", str(path), 0, path.stat().st_size, **words)  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "xz"])
def test_the_tar_has_all_that_the_tree_has(tree: Path, tmp_path: Path, compression: str) -> None:
    image = make_squashfs(tree, tmp_path / "fs", "-comp", compression)
    with layer_of(image).open() as stream:
        data = io.BytesIO(stream.read())
    found = {}
    with tarfile.open(fileobj=data) as archive:
        for member in archive:
            found[os.path.normpath(member.name)] = member
            path = tree / member.name
            state = path.lstat()
            assert member.mode == (0o777 if member.issym() else stat.S_IMODE(state.st_mode))
            assert member.mtime == int(state.st_mtime)
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                assert content.read() == path.read_bytes()
            elif member.issym():
                assert member.linkname == os.readlink(path)
            for name in os.listxattr(path, follow_symlinks=False):
                if name.startswith(("user.", "security.capability")) and not member.islnk():
                    value = os.getxattr(path, name, follow_symlinks=False)
                    said = member.pax_headers[f"SCHILY.xattr.{name}"]
                    assert said.encode("utf-8", "surrogateescape") == value
    names = {str(path.relative_to(tree)) for path in tree.rglob("*")}
    assert set(found) - {"."} == names
    hard = [found[name] for name in ("usr/lib/big", "usr/lib/zz-hard")]
    assert sorted(member.islnk() for member in hard) == [False, True]


def test_paths_can_be_left_out_with_all_below_them(tree: Path, tmp_path: Path) -> None:
    image = make_squashfs(tree, tmp_path / "fs")
    with layer_of(image, without=(b"usr/share", b"lib")).open() as stream:
        data = io.BytesIO(stream.read())
    with tarfile.open(fileobj=data) as archive:
        names = archive.getnames()
    assert not [name for name in names if name.startswith("usr/share") or name == "lib"]
    assert "usr/lib/big" in names


def test_owners_beyond_ustar_are_kept(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_bytes(b"x")
    image = make_squashfs(
        tmp_path / "root", tmp_path / "fs", "-force-uid", "4000000000", "-force-gid", "70000"
    )
    with layer_of(image).open() as stream:
        data = io.BytesIO(stream.read())
    with tarfile.open(fileobj=data) as archive:
        member = archive.getmember("a")
    assert (member.uid, member.gid) == (4_000_000_000, 70_000)


def test_damage_is_a_source_error_and_nothing_else(tree: Path, tmp_path: Path) -> None:
    image = make_squashfs(tree, tmp_path / "fs", "-noI", "-noD", "-noF", "-noX")
    whole = image.read_bytes()
    chance = random.Random(5)
    refused = 0
    for _ in range(60):
        bent = bytearray(whole)
        for _ in range(3):
            bent[chance.randrange(len(whole) - 25_000, len(whole))] = chance.randrange(256)
        image.write_bytes(bent)
        try:
            with layer_of(image).open() as stream:
                while stream.read(1 << 20):
                    pass
        except SourceError:
            refused += 1
    assert refused


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(SampanError, match="cannot read"):
        SquashfsLayer("x", str(tmp_path / "nowhere"), 0, 100).open()
