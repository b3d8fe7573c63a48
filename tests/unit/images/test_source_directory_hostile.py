"""A tree that its owner changes while another user, root perhaps, imports it."""

import os
from pathlib import Path

import pytest

from sampan.images.sources.directory_tar import DirectoryTar, TreeEntry
from sampan.model.source import SourceError
from support.hostile import swapping

OWN, FOREIGN = b"own contents\n", b"host's secret"
ROUNDS = 300


def read_tree(root: Path, *paths: bytes) -> bytes:
    entries = [TreeEntry(path, b"0", 0o644, 0, 0, len(OWN), 0, b"", (0, 0), has_holes=False)
               for path in paths]  # fmt: skip
    with DirectoryTar(os.fsencode(root), entries) as tar:
        return tar.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "etc/deep").mkdir(parents=True)
    (root / "etc/deep/shadow").write_bytes(OWN)
    (root / "etc/shadow").write_bytes(OWN)
    return root


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    place = tmp_path / "host"
    (place / "deep").mkdir(parents=True)
    for name in ("shadow", "deep/shadow"):
        (place / name).write_bytes(FOREIGN)
    assert len(OWN) == len(FOREIGN)
    return place


def test_directories_swapped_for_links_bring_no_file_of_the_host_in(
    tree: Path, outside: Path
) -> None:
    (tree / "away").symlink_to(outside)
    (tree / "etc/away").symlink_to(outside / "deep")
    with swapping((tree / "etc", tree / "away")):
        for _ in range(ROUNDS):
            try:
                content = read_tree(tree, b"etc/shadow", b"etc/deep/shadow")
            except SourceError:
                continue
            assert FOREIGN not in content


@pytest.mark.parametrize("path", [b"away/shadow", b"away/deep/shadow", b"etc/link"])
def test_a_link_in_a_listed_path_is_refused(tree: Path, outside: Path, path: bytes) -> None:
    (tree / "away").symlink_to(outside)
    (tree / "etc/link").symlink_to(outside / "shadow")
    with pytest.raises(SourceError):
        read_tree(tree, path)


def test_attributes_are_those_of_the_trees_own_file(tree: Path, outside: Path) -> None:
    try:
        os.setxattr(outside / "shadow", "user.secret", b"host's")
        os.setxattr(tree / "etc/shadow", "user.own", b"tree's")
    except OSError as error:
        pytest.skip(f"no user attributes on this file system: {error.strerror}")
    assert b"user.own=tree's" in read_tree(tree, b"etc/shadow")
    (tree / "away").symlink_to(outside)
    with pytest.raises(SourceError):
        read_tree(tree, b"away/shadow")
