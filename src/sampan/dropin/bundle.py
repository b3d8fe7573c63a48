"""A bundle's ``config.json``: read whole, replaced in one step with its mode and owner kept."""

from __future__ import annotations

import os
import stat

MAXIMUM_BYTES = 32 << 20


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
            if status.st_size > MAXIMUM_BYTES:
                raise BundleError(f"{path} is longer than {MAXIMUM_BYTES >> 20} MiB")
            pieces = []
            while piece := os.read(descriptor, 1 << 20):
                pieces.append(piece)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from error
    return b"".join(pieces), status


def replace_config(path: str, content: bytes, status: os.stat_result) -> None:
    """Put ``content`` in the place of the file, which had ``status``.

    Raises:
        BundleError: the bundle's directory cannot be written.
    """
    target = os.path.realpath(path)
    temporary = f"{os.path.dirname(target)}/.config.json.{os.getpid()}.sampan"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, status.st_uid, status.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        finally:
            os.close(descriptor)
        os.rename(temporary, target)
    except OSError as error:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise BundleError(f"{path} cannot be replaced: {error.strerror}") from error
