"""The store's own small files may be damaged or hostile: a refusal, never a traceback or a wait."""

import os
from pathlib import Path

import pytest

from sampan.images.documents import (
    MAXIMUM_BYTES,
    DamagedStoreError,
    read_config,
    read_document,
    read_json,
)


def test_a_file_that_is_not_there_is_no_document(tmp_path: Path) -> None:
    assert read_json(str(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
    ids=["empty", "cut", "list", "bytes", "nested"],
)
def test_damaged_json_is_refused_by_the_files_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(DamagedStoreError) as refusal:
        read_json(str(path))
    assert str(path) in refusal.value.evidence
    assert "sampan rmi -f" in refusal.value.remedy


def test_a_fifo_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "facts.json")
    with pytest.raises(DamagedStoreError):
        read_document(str(tmp_path / "facts.json"))


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(MAXIMUM_BYTES + 1)
    with pytest.raises(DamagedStoreError, match="damaged"):
        read_document(str(path))


def test_a_missing_configuration_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedStoreError) as refusal:
        read_config(str(tmp_path / "config.json"))
    assert "missing" in refusal.value.evidence
