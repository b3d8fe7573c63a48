"""Small files for containers of other engines: where they are kept, and where not."""

import os
from pathlib import Path

import pytest

from sampan.engines.kept_files import keep_files
from sampan.model.plan import PlannedFile

FILE = PlannedFile("/etc/x.conf", b"text\n", 0o644)


def test_equal_files_are_one_file_that_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, notes = keep_files([FILE])
    again, _ = keep_files([FILE])
    kept = Path(first["/etc/x.conf"])
    assert (first, notes) == (again, ())
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"text\n", 0o444)


def test_root_keeps_nothing_where_another_user_could_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    paths, notes = keep_files([FILE])
    assert paths == {}
    assert notes == ("left out, for there is nowhere to keep them: /etc/x.conf",)
