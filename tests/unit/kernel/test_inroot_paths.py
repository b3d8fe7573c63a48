"""Paths inside a foreign root never leave it, whatever links it holds."""

import os
from pathlib import Path

import pytest

from sampan.kernel.inroot import resolve_in_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    tree = tmp_path / "root"
    for name in ("usr/lib/deep", "etc", "a/b"):
        (tree / name).mkdir(parents=True)
    (tree / "etc/passwd").write_text("inside")
    (tree / "lib").symlink_to("usr/lib")
    (tree / "absolute").symlink_to("/usr/lib")
    (tree / "up").symlink_to("../../../../../..")
    (tree / "out").symlink_to("../../../../../../etc/passwd")
    (tree / "a/b/relative").symlink_to("../../lib/deep")
    (tree / "dangling").symlink_to("/not/there")
    (tree / "loop").symlink_to("loop")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("outside")
    return tree


@pytest.mark.parametrize(
    ("path", "real", "exists"),
    [
        ("/", "/", True),
        ("/lib/deep", "/usr/lib/deep", True),
        ("absolute/deep/", "/usr/lib/deep", True),
        ("/a/b/relative", "/usr/lib/deep", True),
        ("/a/b/relative/../..", "/usr", True),
        ("/up", "/", True),
        ("/up/etc/passwd", "/etc/passwd", True),
        ("/out", "/etc/passwd", True),
        ("/../../etc/./passwd", "/etc/passwd", True),
        ("/lib/new/er", "/usr/lib/new/er", False),
        ("/lib/new/../deep", "/usr/lib/deep", True),
        ("/new/../../lib", "/usr/lib", True),
        ("/dangling/x", "/not/there/x", False),
        ("/etc/passwd/x", "/etc/passwd/x", False),
    ],
)
def test_where_a_path_leads(root: Path, path: str, real: str, exists: bool) -> None:
    resolved = resolve_in_root(str(root), path)
    assert resolved.path == real
    if exists:
        assert resolved.found is not None
        assert resolved.found.st_ino == (root / real.lstrip("/")).stat().st_ino


@pytest.mark.parametrize("path", ["/lib/new/er", "/dangling/x", "/etc/passwd/x"])
def test_what_is_not_there(root: Path, path: str) -> None:
    assert resolve_in_root(str(root), path).found is None


def test_a_link_to_itself_is_an_error_not_a_hang(root: Path) -> None:
    with pytest.raises(OSError, match="Too many levels"):
        resolve_in_root(str(root), "/loop")


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    resolve_in_root(str(root), "/a/b/relative/../../lib/deep/none/../..")
    assert len(os.listdir("/proc/self/fd")) == before
