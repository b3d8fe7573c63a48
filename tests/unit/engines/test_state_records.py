"""Containers on record: made, changed, found, listed and forgotten, by one user in one directory."""

import os
import time
from pathlib import Path

import pytest

from sampan.engines.native import state
from sampan.kernel.procfs import start_time


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "runtime"
    monkeypatch.setenv("SAMPAN_RUNTIME", str(directory))
    return directory


def make(name: str = "box", **fields: object) -> state.ContainerRecord:
    base = state.ContainerRecord(
        id=str(fields.pop("id", state.new_id())),
        name=name,
        image="debian",
        image_digest="sha256:00",
        command=("sh", "-c", "true"),
        created=time.time(),
        labels={"a": "b"},
    )
    record = base._replace(**fields)
    state.create_record(record)
    return record


def test_a_record_comes_back_as_it_was_written() -> None:
    record = make(ports=("0.0.0.0:1->2/tcp",), gpus=("GPU-1",), warnings=("w",), started=1.5)
    assert state.load_record(record.id) == record


def test_words_that_are_no_utf_8_come_back_too() -> None:
    record = make(command=("sh", os.fsdecode(b"\xff\xfe")))
    assert state.load_record("box").command == record.command


def test_a_container_is_found_by_name_id_or_beginning() -> None:
    record = make(id="ab" * 32)
    make("other", id="ac" * 32)
    for word in ("box", record.id, record.id[:12], "ab"):
        assert state.load_record(word) == record


def test_a_name_goes_before_the_beginning_of_an_id() -> None:
    make(id="ab" * 32)
    named = make("abab", id="cd" * 32)
    assert state.load_record("abab") == named


def test_a_beginning_of_two_ids_is_ambiguous() -> None:
    make(id="ab" * 32)
    make("other", id="ac" * 32)
    with pytest.raises(state.AmbiguousContainerError) as caught:
        state.load_record("a")
    assert "abababababab" in caught.value.evidence


@pytest.mark.parametrize("word", ["", ".", "..", "../box", "nobody", "zz", "/"])
def test_what_is_not_there_is_said(word: str) -> None:
    make()
    with pytest.raises(state.NoSuchContainerError):
        state.load_record(word)


def test_a_name_is_given_once() -> None:
    first = make()
    with pytest.raises(state.NameInUseError, match="box") as caught:
        make()
    assert first.id[:12] in caught.value.evidence
    assert len(state.list_records()) == 1


def test_a_name_is_free_again_after_removal() -> None:
    state.remove_record(make().id)
    again = make()
    assert state.load_record("box") == again


def test_a_name_left_by_a_crash_does_not_block(runtime: Path) -> None:
    make("first")
    (runtime / "names" / "box").symlink_to("f" * 64)
    assert state.load_record(make().id).name == "box"


def test_changes_keep_the_rest() -> None:
    record = make()
    assert state.update_record(record.id, pid=7, pid_start=8) == record._replace(pid=7, pid_start=8)
    assert state.load_record("box").pid == 7


def test_a_removed_container_cannot_be_changed() -> None:
    record = make()
    state.remove_record(record.id)
    with pytest.raises(state.NoSuchContainerError):
        state.update_record(record.id, pid=1)


def test_the_newest_is_listed_first() -> None:
    old = make("old", created=1.0)
    new = make("new", created=2.0)
    assert state.list_records() == [new, old]


def test_nothing_is_listed_before_the_first_container() -> None:
    assert state.list_records() == []


def test_fields_of_a_newer_version_are_ignored(runtime: Path) -> None:
    record = make()
    path = runtime / "containers" / record.id / "record.json"
    path.write_text(path.read_text().replace("{", '{"novelty": 1, ', 1))
    assert state.load_record("box") == record


def test_a_half_made_directory_is_no_container_and_goes_away(runtime: Path) -> None:
    make()
    abandoned = runtime / "containers" / ("0" * 64)
    abandoned.mkdir()
    assert len(state.list_records()) == 1
    assert abandoned.exists(), "another process may be at work on a young one"
    os.utime(abandoned, (1, 1))
    state.list_records()
    assert not abandoned.exists()


class TestStatus:
    def test_running_while_its_process_lives(self) -> None:
        record = make(pid=os.getpid(), pid_start=start_time(os.getpid()))
        assert state.container_status(record).state == "running"

    def test_another_process_of_the_same_number_is_not_it(self) -> None:
        record = make(pid=os.getpid(), pid_start=start_time(os.getpid()) + 1)
        assert state.container_status(record) == state.Status("dead", None)

    def test_created_while_only_its_supervisor_lives(self) -> None:
        record = make(supervisor_pid=os.getpid(), supervisor_start=start_time(os.getpid()))
        assert state.container_status(record).state == "created"

    def test_exited_once_the_code_is_noted(self) -> None:
        record = make()
        state.write_exit(record.id, 42)
        status = state.container_status(record)
        assert (status.state, status.exit_code) == ("exited", 42)
        assert abs(status.finished - time.time()) < 60

    def test_a_zombie_does_not_run(self) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        try:
            assert start_time(child) == 0
        finally:
            os.waitpid(child, 0)

    def test_a_waiter_reads_the_code_of_a_container_that_is_forgotten(self, runtime: Path) -> None:
        record = make()
        with (runtime / "containers" / record.id / "exit").open() as waiting:
            state.write_exit(record.id, 7)
            state.remove_record(record.id)
            assert waiting.read() == "7\n"

    def test_the_code_of_a_forgotten_container_is_not_noted(self) -> None:
        record = make()
        state.remove_record(record.id)
        state.write_exit(record.id, 7)
        state.remove_record(record.id)
        assert state.list_records() == []


class TestDirectory:
    def test_it_is_made_for_us_alone(self, runtime: Path) -> None:
        assert state.state_directory() == str(runtime)
        assert runtime.stat().st_mode & 0o777 == 0o700

    def test_one_that_others_may_write_to_is_refused(self, runtime: Path) -> None:
        runtime.mkdir(mode=0o700)
        runtime.chmod(0o777)
        with pytest.raises(state.StateDirectoryError) as caught:
            state.state_directory()
        assert "chmod 0700" in caught.value.remedy

    def test_a_link_is_refused(self, runtime: Path, tmp_path: Path) -> None:
        runtime.symlink_to(tmp_path)
        with pytest.raises(state.StateDirectoryError):
            state.state_directory()

    def test_a_place_that_cannot_be_made_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SAMPAN_RUNTIME", "/proc/nowhere/sampan")
        with pytest.raises(state.StateDirectoryError, match="/proc/nowhere/sampan"):
            state.state_directory()

    def test_the_runtime_directory_of_the_login(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("SAMPAN_RUNTIME")
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid or 4242)
        if tmp_path.stat().st_uid:
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
            assert state.state_directory() == f"{tmp_path}/sampan"

    def test_a_runtime_directory_of_somebody_else_is_passed_over(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        uid = os.geteuid() + 1
        monkeypatch.delenv("SAMPAN_RUNTIME")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        with pytest.raises(state.StateDirectoryError, match=f"{tmp_path}/t/sampan-{uid}"):
            # The directory that this process makes is not that other user's.
            state.state_directory()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": 5}', "[" * 100_000])
def test_a_damaged_record_is_named_with_the_way_out(content: str) -> None:
    record = make()
    path = Path(state.container_directory(record.id)) / "record.json"
    path.write_text(content)
    for look in (state.list_records, lambda: state.load_record("box")):
        with pytest.raises(state.StateDirectoryError) as caught:
            look()
        assert str(path) in caught.value.evidence
        assert f"rm -r {path.parent}" in caught.value.remedy
