"""What we changed, so that exactly that can be undone: one JSON record a configuration, and backups.

They lie in a directory of their own, not beside the files: some engines read every file that lies
beside their configuration.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sampan.engines.configure.edits import Done
from sampan.errors import SampanError
from sampan.kernel.atomic import write_atomic


class RecordError(SampanError):
    """A record of changes that cannot be read."""

    id = "configuration-record"


class FileRecord(NamedTuple):
    """What we did to a file.

    Attributes:
        syntax: as in ``FilePlan``.
        existed: there was a file before our first change.
        written: SHA-256 of what we wrote last, hexadecimal.
        backup: name of the backup of the file before our first change, as long as nobody else changed
            the file between ours; empty then, and when there was no file.
        done: our edits.
        directories: directories that we made for it.
    """

    path: str
    syntax: str
    existed: bool
    written: str
    backup: str
    done: tuple[Done, ...]
    directories: tuple[str, ...]


def locate_state(environment: Mapping[str, str], *, is_root: bool) -> Path:
    """The directory of records: ``/var/lib/sampan/configure``, or below the user's state."""
    if is_root:
        return Path("/var/lib/sampan/configure")
    home = environment.get("HOME") or "/"
    state = environment.get("XDG_STATE_HOME") or f"{home}/.local/state"
    return Path(state) / "sampan" / "configure"


def record_path(state: Path, engine: str, config: str) -> Path:
    """Where the record of an engine's configuration lies."""
    return state / f"{engine}-{hashlib.sha256(config.encode()).hexdigest()[:12]}.json"


def load_record(path: Path) -> tuple[FileRecord, ...]:
    """The files of a record; nothing when there is none.

    Raises:
        RecordError: it is damaged.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        return tuple(
            FileRecord(
                one["path"], one["syntax"], one["existed"], one["written"], one["backup"],
                tuple(Done(tuple(done["key"]), *(done[name] for name in Done._fields[1:]))
                      for done in one["done"]),
                tuple(one["directories"]),
            )
            for one in document["files"]
        )  # fmt: skip
    except FileNotFoundError:
        return ()
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"the record {path} is damaged", evidence=f"{type(error).__name__}: {error}",
            remedy=f"compare by hand with the backups in {path.parent}, then remove it",
        ) from error  # fmt: skip


def save_record(path: Path, engine: str, files: tuple[FileRecord, ...]) -> None:
    """Write the record, or remove it when no file is left in it.

    Raises:
        OSError: the directory cannot be written.
    """
    if not files:
        path.unlink(missing_ok=True)
        return
    document = {
        "engine": engine,
        "files": [
            {**one._asdict(), "done": [done._asdict() for done in one.done]} for one in files
        ],
    }
    _make_private(path.parent)
    write_atomic(path, json.dumps(document, indent=1).encode() + b"\n", 0o600)


def keep_backup(state: Path, path: str, content: bytes, now: float) -> str:
    """Keep what a file was before a change; returns the backup's name.

    Raises:
        OSError: the directory cannot be written.
    """
    _make_private(state)
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    marks = hashlib.sha256(path.encode()).hexdigest()[:8]
    name = f"{os.path.basename(path)[:64]}-{marks}.{when}"
    further = 1
    while (state / name).exists():
        further += 1
        name = f"{os.path.basename(path)[:64]}-{marks}.{when}-{further}"
    write_atomic(state / name, content, 0o600)
    return name


def _make_private(directory: Path) -> None:
    directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()
