"""What a detached container printed: conmon's log, line by line, as it is or as it grows.

The format is Kubernetes': ``TIME STREAM TAG TEXT``, where tag F ends a line of the container and P
is a part of one. Rules: docker logs(1) for the selection.
"""

import contextlib
import os
import select
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from sampan.engines.native import state
from sampan.engines.native.control import Waiter
from sampan.errors import SampanError, UsageError
from sampan.kernel.watch import FileWatch

_BLOCK = 1 << 16
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class NoLogError(SampanError):
    """The container has no log."""

    id = "no-log"
    exit_code = 1


class LogLine(NamedTuple):
    """A line of the container, or a part of one.

    Attributes:
        stamp: when conmon read it, RFC 3339 with nanoseconds.
        stream: ``stdout`` or ``stderr``.
        text: with its line end, if it has one.
        begins: False for what continues the part before it on the same stream.
    """

    stamp: str
    stream: str
    text: bytes
    begins: bool


class Selection(NamedTuple):
    """Which lines: the last ``tail`` (None = all), not before, not after (seconds of the epoch)."""

    tail: int | None = None
    since: float | None = None
    until: float | None = None


def read_log(
    record: state.ContainerRecord, selection: Selection, *, follow: bool
) -> Iterator[LogLine]:
    """The selected lines; with ``follow`` those to come too, until the container ends.

    Raises:
        NoLogError: the container ran in the foreground.
    """
    if not record.log_path:
        raise NoLogError(
            f"container {record.name} has no log",
            evidence="it ran in the foreground: its output went to the caller",
            remedy="run it with -d to keep its output",
        )
    with contextlib.ExitStack() as stack:
        waiter = stack.enter_context(contextlib.closing(Waiter(record))) if follow else None
        try:
            stream = stack.enter_context(open(record.log_path, "rb", buffering=0))
        except FileNotFoundError:
            return
        if selection.tail is not None:
            stream.seek(_find_tail(stream, selection.tail))
        chunks = _read_growing(stream, record.log_path, waiter) if waiter else _read(stream)
        yield from _select(_parse(chunks), selection)


def parse_moment(option: str, text: str, now: float) -> float:
    """Seconds of the epoch of ``2024-05-01T10:00:00Z``, ``1714557600.5`` or ``1h30m`` ago.

    Raises:
        UsageError: it is none of them.
    """
    with contextlib.suppress(ValueError):
        return float(text)
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.astimezone()).timestamp()
    with contextlib.suppress(ValueError, KeyError):
        return now - _parse_duration(text)
    raise UsageError(
        f"{option} cannot be {text!r}",
        evidence="expected a time, seconds of the epoch, or a duration before now",
        remedy=f"e.g. {option} 10m, or {option} 2024-05-01T10:00:00Z",
    )


def _parse_duration(text: str) -> float:
    total = 0.0
    rest = text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("hmsun"))]
        rest = rest[len(unit) :]
        total += float(number) * _UNITS_S[unit]
    if not text:
        raise ValueError(text)
    return total


def _parse(chunks: Iterator[bytes]) -> Iterator[LogLine]:
    rest = b""
    open_streams: set[str] = set()
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            stamp, _, behind = line.partition(b" ")
            stream, _, behind = behind.partition(b" ")
            tag, _, text = behind.partition(b" ")
            name = stream.decode(errors="replace")
            begins = name not in open_streams
            if tag == b"P":
                open_streams.add(name)
            else:
                open_streams.discard(name)
                text += b"\n"
            yield LogLine(stamp.decode(errors="replace"), name, text, begins)


def _select(lines: Iterator[LogLine], selection: Selection) -> Iterator[LogLine]:
    if selection.since is None and selection.until is None:
        yield from lines
        return
    for line in lines:
        seconds = datetime.fromisoformat(line.stamp).astimezone(UTC).timestamp()
        if selection.since is not None and seconds < selection.since:
            continue
        if selection.until is not None and seconds > selection.until:
            return
        yield line


def _find_tail(stream: BinaryIO, lines: int) -> int:
    """Offset at which the last ``lines`` lines begin."""
    end = stream.seek(0, os.SEEK_END)
    position, seen, tail = end, 0, b""
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        stream.seek(position)
        tail = _read_fully(stream, size) + tail
        seen = tail.count(b"\n")
        if seen > lines:
            break
    if lines == 0:
        return end
    kept = tail.split(b"\n")
    behind = sum(len(line) + 1 for line in kept[-(lines + 1) : -1]) + len(kept[-1])
    return end - min(behind, len(tail))


def _read_fully(stream: BinaryIO, size: int) -> bytes:
    content = b""
    while len(content) < size:
        content += stream.read(size - len(content)) or b"\n"
    return content


def _read(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_BLOCK):
        yield chunk


def _read_growing(stream: BinaryIO, path: str, waiter: Waiter) -> Iterator[bytes]:
    """What the file holds and gets; conmon replaces one that became too long."""
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(contextlib.closing(FileWatch(path)))
        while True:
            watch.drain()
            has_ended = waiter.wait(0.0)
            replaced = _is_replaced(stream, path)
            yield from _read(stream)
            if replaced:
                stream = stack.enter_context(open(path, "rb", buffering=0))
                watch = stack.enter_context(contextlib.closing(FileWatch(path)))
            elif has_ended:
                return
            else:
                select.select([watch, *waiter.filenos()], [], [])


def _is_replaced(stream: BinaryIO, path: str) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False
