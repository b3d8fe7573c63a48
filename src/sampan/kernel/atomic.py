"""Files that appear whole or not at all: written beside the target, synced, renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_file(target: Path, mode: int = 0o644, suffix: str = "") -> Iterator[BinaryIO]:
    """Give a binary file opened for reading and writing that becomes ``target`` at a clean exit.

    The temporary name starts with ``.tmp-`` in the target's own directory, so that a crash leaves
    only a name that ``sweep_temporaries`` knows. It ends with the target's name and ``suffix``, for
    directories where others read every file of some ending. On an exception nothing remains.

    Raises:
        OSError: the directory is not writable, the disk is full.
    """
    temporary = temporary_beside(target, suffix)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(temporary, target)
        sync_directory(target.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_atomic(target: Path, content: bytes, mode: int = 0o644, *, suffix: str = "") -> None:
    """Replace ``target`` by ``content`` so that a reader sees the old or the new, never a part."""
    with atomic_file(target, mode, suffix) as stream:
        stream.write(content)


def temporary_beside(target: Path, suffix: str = "") -> Path:
    """A name in ``target``'s directory, unique to this process, known to the sweep."""
    return target.parent / f".tmp-{os.getpid()}-{os.urandom(6).hex()}-{target.name[:64]}{suffix}"


def sync_directory(directory: Path) -> None:
    """Make the renames inside ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(directory: Path, older_than_s: float, now: float) -> list[Path]:
    """Delete temporary files left by a crash in ``directory``; return what was deleted.

    Args:
        directory: not searched below.
        older_than_s: only files not written for so many seconds, since another process may be at
            work on a young one.
        now: seconds since the epoch.
    """
    swept = []
    for entry in os.scandir(directory):
        if not entry.name.startswith(".tmp-") or not entry.is_file(follow_symlinks=False):
            continue
        with contextlib.suppress(FileNotFoundError):
            if now - entry.stat(follow_symlinks=False).st_mtime >= older_than_s:
                os.unlink(entry.path)
                swept.append(Path(entry.path))
    return swept
