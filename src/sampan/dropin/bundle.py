"""A bundle's ``config.json``, replaced in one step with its mode and owner kept, and the record beside it.

The record says what was added, so that it can be taken off when the bundle is used again. It is
believed when it is ours and nobody else may write it; no image can write here.
"""

from __future__ import annotations

import os
import stat

from sampan.dropin.quick_json import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAXIMUM_BYTES = 32 << 20
RECORD = ".sampan-edits"
"""After the configuration's name."""


class BundleError(Exception):
    """The configuration cannot be read or replaced: one line says why."""


def read_config(path: str) -> tuple[bytes, os.stat_result]:
    """The file's content, and whose it is.

    Raises:
        BundleError: it is absent, no regular file, or too long.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path} is no regular file")
            pieces = []
            length = 0
            # Not by the size that the file says: those of /proc say none.
            while piece := os.read(descriptor, 1 << 20):
                length += len(piece)
                if length > MAXIMUM_BYTES:
                    raise BundleError(f"{path} is longer than {MAXIMUM_BYTES >> 20} MiB")
                pieces.append(piece)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    return b"".join(pieces), status


def load_records(path: str) -> dict[str, dict[str, Any]]:
    """What earlier edits of the configuration at ``path`` have added, by their marks; {} = none known."""
    place = os.path.realpath(path) + RECORD
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        status = os.fstat(descriptor)
        trusted = status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if not stat.S_ISREG(status.st_mode) or not trusted or status.st_size > MAXIMUM_BYTES:
            return {}
        records = decode(os.read(descriptor, status.st_size))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.close(descriptor)
    if not isinstance(records, dict):
        return {}
    return {mark: one for mark, one in records.items() if isinstance(one, dict)}


def write_records(path: str, records: dict[str, dict[str, Any]]) -> None:
    """Keep what edits have added; before the configuration is replaced, so with the last edit's.

    Raises:
        BundleError: the bundle's directory cannot be written.
    """
    target = os.path.realpath(path) + RECORD
    try:
        if records:
            _replace(target, encode(records), 0o600, os.geteuid(), os.getegid())
        elif os.path.lexists(target):
            os.unlink(target)
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror}") from error


def replace_config(path: str, content: bytes, status: os.stat_result) -> None:
    """Put ``content`` in the place of the file, which had ``status``.

    Raises:
        BundleError: the bundle's directory cannot be written.
    """
    try:
        mode = stat.S_IMODE(status.st_mode)
        _replace(os.path.realpath(path), content, mode, status.st_uid, status.st_gid)
    except OSError as error:
        raise BundleError(f"{path} cannot be replaced: {error.strerror}") from error


def _replace(target: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    directory, _, name = target.rpartition("/")
    temporary = f"{directory}/.{name}.{os.getpid()}.sampan"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        os.rename(temporary, target)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
