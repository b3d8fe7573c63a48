"""Which lines of a log are shown, and how a time is written."""

import os
import select
import time
from pathlib import Path

import pytest

from sampan.engines.native import logs, state
from sampan.engines.native.logs import LogLine, Selection
from sampan.errors import UsageError

LOG = b"""\
2024-05-01T10:00:00.000000001+00:00 stdout F one
2024-05-01T10:00:01.000000001+00:00 stderr F two
2024-05-01T10:00:02.000000001+00:00 stdout P thr
2024-05-01T10:00:03.000000001+00:00 stdout F ee
2024-05-01T10:00:04.000000001+00:00 stdout F\x20
2024-05-01T10:00:05.000000001+00:00 stdout P rest"""


def show(path: Path, selection: Selection) -> list[bytes]:
    record = state.ContainerRecord(
        id="0" * 64,
        name="box",
        image="x",
        image_digest="",
        command=(),
        created=0.0,
        labels={},
        log_path=str(path),
    )
    return [line.text for line in logs.read_log(record, selection, follow=False)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(LOG + b"\n")
    return path


def test_parts_of_a_line_are_put_together(log: Path) -> None:
    assert show(log, Selection()) == [b"one\n", b"two\n", b"thr", b"ee\n", b"\n", b"rest"]


@pytest.mark.parametrize(
    ("tail", "shown"), [(0, []), (1, [b"rest"]), (2, [b"\n", b"rest"]), (100, 6)]
)
def test_the_last_lines(log: Path, tail: int, shown: list[bytes] | int) -> None:
    found = show(log, Selection(tail=tail))
    assert (len(found) if isinstance(shown, int) else found) == shown


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    stamp = b"2024-05-01T10:00:00.0+00:00 stdout F "
    path.write_bytes(b"".join(stamp + b"x" * 100 + b"%d\n" % i for i in range(3000)))
    assert show(path, Selection(tail=2)) == [b"x" * 100 + b"2998\n", b"x" * 100 + b"2999\n"]


def test_lines_of_a_span(log: Path) -> None:
    since = logs.parse_moment("--since", "2024-05-01T10:00:01Z", 0.0)
    until = logs.parse_moment("--until", "2024-05-01T10:00:02.5Z", 0.0)
    assert show(log, Selection(since=since, until=until)) == [b"two\n", b"thr"]


def test_a_continued_line_has_one_time_stamp(log: Path) -> None:
    lines = list(logs._parse(iter([LOG + b"\n"])))
    assert [line.begins for line in lines] == [True, True, True, False, True, True]
    assert lines[0] == LogLine("2024-05-01T10:00:00.000000001+00:00", "stdout", b"one\n", True)


def test_chunks_may_end_anywhere() -> None:
    whole = list(logs._parse(iter([LOG + b"\n"])))
    pieces = (bytes((byte,)) for byte in LOG + b"\n")
    assert list(logs._parse(pieces)) == whole


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("100.5", 100.5),
        ("1970-01-01T00:01:40Z", 100.0),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("10s", 990.0),
        ("1m30s", 910.0),
        ("500ms", 999.5),
    ],
)
def test_times_and_durations(text: str, moment: float) -> None:
    assert logs.parse_moment("--since", text, 1000.0) == moment


def test_a_time_without_zone_is_local() -> None:
    local = time.mktime((2024, 5, 1, 10, 0, 0, 0, 0, -1))
    assert logs.parse_moment("--since", "2024-05-01T10:00:00", 0.0) == local


@pytest.mark.parametrize("text", ["", "yesterday", "10x", "m"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        logs.parse_moment("--since", text, 0.0)


class Ending:
    """Stands for the processes of a container; the pipe's other end is the container."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def wait(self, timeout_s: float | None) -> bool:
        return bool(select.select([self.reader], [], [], timeout_s)[0])

    def filenos(self) -> list[int]:
        return [self.reader]


def test_a_log_that_is_replaced_while_it_is_followed_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    ending = Ending()
    with path.open("rb", buffering=0) as stream:
        chunks = logs._read_growing(stream, str(path), ending)  # type: ignore[arg-type]
        assert next(chunks) == b"one\n"
        with path.open("ab") as more:
            more.write(b"two\n")
        (tmp_path / "new").write_bytes(b"three\n")
        (tmp_path / "new").rename(path)
        assert next(chunks) == b"two\n"
        assert next(chunks) == b"three\n"
        os.close(ending.writer)
        assert list(chunks) == []
    os.close(ending.reader)
