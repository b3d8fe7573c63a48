"""The small tools of the start path: channel, program search, tree removal, kept files."""

import os
from pathlib import Path

import pytest

from sampan.engines.native import cache
from sampan.kernel.channel import make_channel
from sampan.kernel.programs import find_executable
from sampan.kernel.trees import remove_tree


def test_messages_keep_their_borders_and_carry_descriptors(tmp_path: Path) -> None:
    ours, theirs = make_channel()
    (tmp_path / "file").write_text("content")
    with (tmp_path / "file").open("rb") as stream:
        ours.send(b"one")
        ours.send(b"two", stream.fileno())
    assert theirs.receive() == (b"one", -1)
    message, descriptor = theirs.receive()
    assert message == b"two"
    assert not os.get_inheritable(descriptor)
    assert os.read(descriptor, 100) == b"content"
    os.close(descriptor)
    ours.close()
    assert theirs.receive() == (b"", -1)
    with pytest.raises(BrokenPipeError):
        theirs.send(b"anybody?")
    theirs.close()


def test_programs_are_not_taken_from_wherever_the_user_happens_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "sampan-test-tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".::bin")
    assert find_executable("sampan-test-tool") == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_executable("sampan-test-tool") == str(tool)
    assert find_executable(str(tool)) == str(tool)
    tool.chmod(0o644)
    assert find_executable("sampan-test-tool") == ""
    assert find_executable("sampan-test-tool", search=f"/nowhere:{tmp_path}") == ""


def test_a_tree_is_removed_whatever_its_modes_and_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    deep = tree.joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "d").chmod(0)
    remove_tree(str(tree), keep_root=True)
    assert list(tree.iterdir()) == []
    remove_tree(str(tree))
    remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_kept_files_are_read_back_unless_others_could_have_written_them(tmp_path: Path) -> None:
    directory = str(tmp_path / "cache/part")
    cache.keep(directory, "name", b"content")
    path = Path(directory) / "name"
    assert cache.read_kept(str(path)) == b"content"
    path.chmod(0o666)
    assert cache.read_kept(str(path)) == b""
    (Path(directory) / "link").symlink_to(path)
    path.chmod(0o600)
    assert cache.read_kept(f"{directory}/link") == b""
    assert cache.read_kept(f"{directory}/none") == b""
    assert [entry.name for entry in Path(directory).iterdir() if entry.name.startswith(".")] == []


def test_a_cache_that_cannot_be_written_is_no_error() -> None:
    cache.keep("/proc/self/nowhere", "name", b"x")


@pytest.mark.parametrize(("value", "expected"), [("/c", "/c/sampan/x"), ("relative", "/h/.cache/sampan/x"), ("", "/h/.cache/sampan/x")])  # fmt: skip
def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, value: str, expected: str) -> None:
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache.cache_directory("x") == expected
