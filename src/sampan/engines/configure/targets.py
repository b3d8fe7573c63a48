"""Reading and writing files of other programs: never through a link, never those of other users."""

import contextlib
import difflib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.kernel.atomic import atomic_file, sync_directory
from sampan.kernel.trust import who_may_change

MAXIMUM_BYTES = 4 << 20
_LABEL = "security.selinux"


class TargetError(SampanError):
    """A configuration file that we do not touch, or may not."""

    id = "configuration-file"


class Change(NamedTuple):
    """A file as it is and as it shall be; None = no file."""

    path: str
    before: bytes | None
    after: bytes | None

    def diff(self) -> str:
        """A unified diff, as ``diff -u`` writes it."""
        old, new = (
            (content or b"").decode(errors="replace").splitlines(keepends=True)
            for content in (self.before, self.after)
        )
        names = (
            "/dev/null" if self.before is None else self.path,
            "/dev/null" if self.after is None else self.path,
        )
        lines = []
        for line in difflib.unified_diff(old, new, *names):
            lines.append(line)
            if not line.endswith("\n"):
                lines.append("\n\\ No newline at end of file\n")
        return "".join(lines)


def read_target(path: str) -> bytes | None:
    """The content of a configuration file; None when there is none.

    Raises:
        TargetError: a link, no regular file, one that another user may change, too large, not
            readable.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        _refuse_strangers(path)
        return None
    except OSError as error:
        raise TargetError(f"{path} cannot be looked at", evidence=str(error.strerror)) from error
    if stat.S_ISLNK(found.st_mode):
        raise TargetError(
            f"{path} is a symbolic link, which is not followed",
            evidence=f"it leads to {os.readlink(path)}",
            remedy=f"if that is the file to edit: --config {os.path.realpath(path)}",
        )
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAXIMUM_BYTES:
        raise TargetError(
            f"{path} is no configuration file",
            evidence="it is no regular file" if found.st_size <= MAXIMUM_BYTES else "larger than 4 MB",
        )  # fmt: skip
    _refuse_strangers(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise TargetError(f"{path} cannot be read", evidence=str(error.strerror)) from error


def decode(path: str, content: bytes | None) -> str:
    """The text of a file; an absent one is empty.

    Raises:
        TargetError: it is not UTF-8.
    """
    try:
        return (content or b"").decode()
    except UnicodeDecodeError as error:
        raise TargetError(f"{path} is not UTF-8", evidence=str(error)) from error


def write_target(path: str, content: bytes | None) -> tuple[str, ...]:
    """Replace, make or (None) remove a file; returns directories that had to be made, outermost first.

    Mode, owner and SELinux label of a file that is replaced are kept.

    Raises:
        TargetError: it may not be written.
    """
    try:
        if content is None:
            os.unlink(path)
            sync_directory(Path(path).parent)
            return ()
        made = _make_directories(os.path.dirname(path))
        _replace(path, content)
        return made
    except OSError as error:
        raise TargetError(
            f"{path} cannot be written", evidence=str(error.strerror),
            remedy="become root (sudo), or name a file of your own: --config FILE",
        ) from error  # fmt: skip


def remove_directories(directories: tuple[str, ...]) -> None:
    """Remove directories that we made, innermost first, as far as they are empty."""
    for directory in reversed(directories):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _replace(path: str, content: bytes) -> None:
    mode, owner, label = 0o644, None, b""
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        with contextlib.suppress(OSError):
            label = os.getxattr(path, _LABEL, follow_symlinks=False)
    with atomic_file(Path(path), mode) as stream:
        stream.write(content)
        if owner is not None and owner != (os.geteuid(), os.getegid()):
            os.fchown(stream.fileno(), *owner)
        if label:
            os.setxattr(stream.fileno(), _LABEL, label)


def _make_directories(directory: str) -> tuple[str, ...]:
    missing = []
    place = directory
    while not os.path.isdir(place):
        missing.append(place)
        place = os.path.dirname(place)
    for one in reversed(missing):
        os.mkdir(one, 0o755)
        if os.geteuid() == 0:
            # Other users' engines read the machine's directories, whatever root's umask is.
            os.chmod(one, 0o755)  # noqa: S103 - configuration directories are read by all
    return tuple(reversed(missing))


def _refuse_strangers(path: str) -> None:
    """Who could change the file could make the engine run his programs as its user."""
    place = path
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    try:
        reason = who_may_change(place)
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise TargetError(
            f"{path} is not safe to edit", evidence=reason,
            remedy="correct owner and mode first; an engine runs what this file names",
        )  # fmt: skip
