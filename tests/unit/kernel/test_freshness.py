"""Marks of a host change when, and only when, what was looked at changes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan.kernel.freshness import CONTENT, IDENTITY, NODES, TREE, take_marks


@pytest.fixture
def watches(tmp_path: Path) -> list[list[str]]:
    (tmp_path / "version").write_text("580")
    (tmp_path / "library").write_text("x")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").write_text("")
    (tmp_path / "capabilities/gpu0/mig/gi1/ci0").mkdir(parents=True)
    return [
        [CONTENT, str(tmp_path / "version")],
        [IDENTITY, str(tmp_path / "library")],
        [NODES, str(tmp_path / "dev"), "nvidia"],
        [TREE, str(tmp_path / "capabilities")],
        [CONTENT, str(tmp_path / "absent")],
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda base: (base / "version").write_text("590"),
        lambda base: (base / "library").write_text("longer"),
        lambda base: (base / "library").unlink(),
        lambda base: (base / "dev/nvidia1").write_text(""),
        lambda base: (base / "dev/nvidia0").chmod(0o600),
        lambda base: (base / "capabilities/gpu0/mig/gi1/ci1").mkdir(),
        lambda base: (base / "absent").write_text("here now"),
    ],
)
def test_a_change_is_noticed(
    tmp_path: Path, watches: list[list[str]], change: Callable[[Path], object]
) -> None:
    before = take_marks(watches)
    assert take_marks(watches) == before
    change(tmp_path)
    assert take_marks(watches) != before


def test_what_is_not_watched_does_not_count(tmp_path: Path, watches: list[list[str]]) -> None:
    before = take_marks(watches)
    (tmp_path / "dev/tty0").write_text("")
    (tmp_path / "other").write_text("")
    os.utime(tmp_path / "version")
    assert take_marks(watches) == before
