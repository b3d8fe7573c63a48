"""Who waits for a lock hears what its holder says, and has it when the holder is gone."""

import threading
from pathlib import Path

from sampan.kernel.locks import leave_note, locked


def test_who_waits_hears_the_holder_and_then_has_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    heard: list[bytes] = []
    waits, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path) as descriptor:
            leave_note(descriptor, b"12345")
            waits.set()
            may_end.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert waits.wait(20)

    def hear(note: bytes) -> None:
        heard.append(note)
        may_end.set()

    with locked(path, waiting=hear):
        holder.join()
    assert heard[0] == b"12345"


def test_a_note_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as descriptor:
        leave_note(descriptor, b"old")
    heard: list[bytes] = []
    with locked(path, waiting=heard.append):
        assert path.read_bytes().strip() == b""
    assert heard == []
