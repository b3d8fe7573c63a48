"""CDI documents on this host: which files there are, their text, and writing one whole or not at all.

What is in a document is not judged here (``injection.cdi_document`` does), and nothing is ever
executed. The order of directories is their priority: static files, then those made at run time.
"""

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sampan.driver.cdi_yaml import MAXIMUM_BYTES, CdiTextError, parse_text
from sampan.errors import SampanError

SPEC_DIRECTORIES: tuple[str, ...] = ("/etc/cdi", "/run/cdi", "/var/run/cdi")
"""Lowest priority first; two names of one directory count once."""
SUFFIXES = (".yaml", ".json")
MAXIMUM_FILES = 1000
STALE_TEMPORARY_S = 3600.0


class CdiFileError(SampanError):
    """A file cannot be read or written where it is."""

    id = "cdi-file"


class SpecFile(NamedTuple):
    """One file of a CDI directory.

    Attributes:
        priority: the position of its directory; higher counts more.
        document: its JSON values; None when ``error`` says why there are none.
        error: why it was not read; empty when it was.
        warnings: who else may write it, a mode that keeps engines from reading it.
    """

    path: str
    priority: int
    document: object
    error: str
    warnings: tuple[str, ...]


def find_spec_files(directories: Sequence[str] = SPEC_DIRECTORIES) -> tuple[SpecFile, ...]:
    """Every ``.yaml`` and ``.json`` file of the directories, not below them, sorted by name.

    Directories that do not exist are passed over.
    """
    files: list[SpecFile] = []
    places: dict[str, tuple[int, str]] = {}
    for priority, directory in enumerate(directories):
        places[os.path.realpath(directory)] = (priority, directory)
    for priority, directory in sorted(places.values()):
        try:
            names = sorted(name for name in os.listdir(directory) if name.endswith(SUFFIXES))
            shared = _trust_problem(os.stat(directory), directory)
        except OSError:
            continue
        for name in names[:MAXIMUM_FILES]:
            file = read_spec_file(f"{directory}/{name}", priority)
            files.append(file._replace(warnings=(*shared, *file.warnings)) if shared else file)
    return tuple(files)


def read_spec_file(path: str, priority: int = 0) -> SpecFile:
    """One file; what is wrong with it stands in ``error``."""
    try:
        text, status = _read(path)
    except CdiFileError as error:
        return SpecFile(path, priority, None, f"{error.cause}: {error.evidence}", ())
    warnings = _trust_problem(status, path)
    if status.st_mode & 0o044 != 0o044:
        mode = stat.S_IMODE(status.st_mode)
        problem = f"{path} has mode {mode:04o}: engines of other users cannot read it"
        warnings = (*warnings, f"{problem}; chmod 0644 {path}")
    try:
        document = parse_text(text, is_json=path.endswith(".json"))
    except CdiTextError as error:
        return SpecFile(path, priority, None, error.evidence, warnings)
    return SpecFile(path, priority, document, "", warnings)


def read_spec_text(path: str) -> str:
    """A file's text; undecodable bytes are replaced.

    Raises:
        CdiFileError: it cannot be read, is no regular file, or is too large.
    """
    return _read(path)[0].decode(errors="replace")


def write_spec_file(path: str, text: str) -> None:
    """Put a document in place, mode 0644: readers see the old file or the new one.

    The directory is made when it is missing. The temporary name does not end as documents do, for
    engines read every such file of their directories.

    Raises:
        CdiFileError: a link has the name, or the directory cannot be written.
    """
    from sampan.kernel.atomic import sweep_temporaries, write_atomic

    target = Path(path)
    try:
        if target.is_symlink():
            raise CdiFileError(
                f"cannot write {path}",
                evidence=f"it is a symbolic link to {os.readlink(path)}",
                remedy=f"remove it (rm {path}), or name the file that it leads to",
            )
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        sweep_temporaries(target.parent, STALE_TEMPORARY_S, time.time())
        write_atomic(target, text.encode(), 0o644, suffix=".part")
    except OSError as error:
        raise CdiFileError(
            f"cannot write {path}",
            evidence=f"{error.strerror}: {error.filename or path}",
            remedy=f"sudo sampan cdi generate --output {path}",
        ) from error


def remove_spec_file(path: str) -> None:
    """Remove a document; no error when it is gone already.

    Raises:
        CdiFileError: the directory cannot be written.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise CdiFileError(
            f"cannot remove {path}", evidence=error.strerror or "", remedy=f"sudo rm {path}"
        ) from error


def _read(path: str) -> tuple[bytes, os.stat_result]:
    def refuse(evidence: str) -> CdiFileError:
        return CdiFileError(f"cannot read {path}", evidence=evidence, remedy=f"ls -l {path}")

    try:
        # A FIFO must not keep us waiting, a terminal must not become ours.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise refuse(error.strerror or "") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise refuse("it is no regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            text = stream.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        raise refuse(error.strerror or "") from error
    finally:
        os.close(descriptor)
    if len(text) > MAXIMUM_BYTES:
        raise refuse(f"it is larger than {MAXIMUM_BYTES >> 20} MiB")
    return text, status


def _trust_problem(status: os.stat_result, path: str) -> tuple[str, ...]:
    """Who besides root and the caller could have written this: documents may name programs to run."""
    problems = []
    if status.st_uid not in (0, os.geteuid()):
        problems.append(f"{path} belongs to user {status.st_uid}, who can change what engines run")
    sticky_directory = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o002 and not sticky_directory:
        problems.append(f"{path} may be written by everybody; chmod o-w {path}")
    return tuple(problems)
