"""Containers as this user knows them: one directory each, no daemon, no database.

``<state>/containers/<id>/`` holds ``record.json`` (written by us, replaced whole), ``exit`` (empty,
then the decimal exit code, written by whoever reaps the container) and ``log`` (detached ones);
``<state>/names/<name>`` links to the id and makes names unique. Everything lies on a volatile file
system, so a reboot forgets containers together with the processes. On the start path: light
imports. What a container looks like to the user is in ``inspect.py``.
"""

import json
import os
import stat
import time
from typing import Any, NamedTuple

from sampan.engines.native.state_files import delete_tree, list_names, read_link, write_whole
from sampan.errors import SampanError
from sampan.kernel.locks import locked
from sampan.kernel.procfs import is_alive

_TUPLES = ("command", "ports", "warnings", "gpus", "environment", "mounts")
EXIT_FILE = "exit"
_ABANDONED_AFTER_S = 60.0
_ID_DIGITS = frozenset("0123456789abcdef")


class NoSuchContainerError(SampanError):
    """No container has this name or id."""

    id = "no-such-container"
    exit_code = 1


class AmbiguousContainerError(SampanError):
    """Several ids begin with the given digits."""

    id = "ambiguous-container"
    exit_code = 1


class NameInUseError(SampanError):
    """Another container, running or ended, has this name."""

    id = "name-in-use"


class StateDirectoryError(SampanError):
    """There is no place for state, or somebody else could have written to it."""

    id = "state-directory"


class ContainerRecord(NamedTuple):
    """A container's state, as far as it does not follow from processes that live or not.

    Attributes:
        id: 64 hex digits.
        image: as the user said it; ``image_digest`` is the store's identity of it.
        command: what runs, ENTRYPOINT included.
        created, started: seconds since the epoch; ``started`` is 0 until it runs.
        pid: pid 1 of the container's outer pid namespace as the host sees it; 0 before the start.
        pid_start: field 22 of /proc/PID/stat; 0 unknown.
        supervisor_pid, supervisor_start: the process that waits for ``pid`` and writes ``exit``.
        rootless: in a user namespace of its own.
        remove: forget it when it ends (``--rm``).
        stop_signal: name or number; empty = SIGTERM.
        ports: like ``0.0.0.0:8080->80/tcp``.
        cgroup: directory to remove afterwards; may be empty. So ``upper``.
        crun_root: crun's ``--root`` as seen inside the mount namespace of ``pid``; ``bundle``, the
            directory of config.json, likewise.
        log_path: of a detached container; else empty.
        gpus: UUIDs.
        environment: lines ``NAME=VALUE`` of the container's process.
        mounts: kind, host path, container path and comma-separated options of each the user named.
    """

    id: str
    name: str
    image: str
    image_digest: str
    command: tuple[str, ...]
    created: float
    labels: dict[str, str]
    pid: int = 0
    pid_start: int = 0
    supervisor_pid: int = 0
    rootless: bool = False
    detached: bool = False
    remove: bool = False
    terminal: bool = False
    stop_signal: str = ""
    stop_timeout_s: int = 10
    ports: tuple[str, ...] = ()
    cgroup: str = ""
    upper: str = ""
    crun_root: str = ""
    log_path: str = ""
    warnings: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    started: float = 0.0
    supervisor_start: int = 0
    user: str = ""
    hostname: str = ""
    network: str = "host"
    bundle: str = ""
    environment: tuple[str, ...] = ()
    working_directory: str = "/"
    mounts: tuple[tuple[str, str, str, str], ...] = ()


class Status(NamedTuple):
    """What became of a container.

    Attributes:
        state: ``created``, ``running``, ``exited``, or ``dead``: it ended and nobody was left to
            see its exit code.
        exit_code: None unless exited.
        finished: seconds since the epoch; 0 unless exited.
    """

    state: str
    exit_code: int | None
    finished: float = 0.0


def state_directory() -> str:
    """The user's directory of container state, created when absent (0700, owned by the user).

    ``SAMPAN_RUNTIME`` when set, ``/run/sampan`` for root, ``$XDG_RUNTIME_DIR/sampan``, else
    ``sampan-<uid>`` below the directory for temporary files.

    Raises:
        StateDirectoryError: it cannot be made, or belongs to, or is open to, somebody else.
    """
    chosen = os.environ.get("SAMPAN_RUNTIME", "")
    if chosen:
        return _private_directory(os.path.abspath(chosen))
    uid = os.geteuid()
    if uid == 0:
        parent = "/run"
    else:
        parent = os.environ.get("XDG_RUNTIME_DIR", "")
        # After `su` the variable still names the directory of the user before.
        if not (parent.startswith("/") and _owner(parent) == uid):
            parent = ""
    if parent and os.access(parent, os.W_OK | os.X_OK):
        return _private_directory(f"{parent}/sampan")
    return _private_directory(f"{os.environ.get('TMPDIR') or '/tmp'}/sampan-{uid}")


def container_directory(container_id: str) -> str:
    """Where the files of one container lie; it need not exist."""
    return f"{state_directory()}/containers/{container_id}"


def new_id() -> str:
    """64 random hex digits."""
    return os.urandom(32).hex()


def create_record(record: ContainerRecord) -> str:
    """Enter a new container; return its directory.

    Raises:
        NameInUseError: the name is taken.
        StateDirectoryError: see ``state_directory``.
    """
    root = state_directory()
    directory = f"{root}/containers/{record.id}"
    link = f"{root}/names/{record.name}"
    with locked(f"{root}/lock"):
        for parent in (f"{root}/containers", f"{root}/names"):
            if not os.path.isdir(parent):
                os.mkdir(parent, 0o700)
        holder = read_link(link)
        if holder and os.path.exists(f"{root}/containers/{holder}/record.json"):
            raise NameInUseError(
                f"the name {record.name!r} is in use",
                evidence=f"by container {holder[:12]}",
                remedy=f"sampan rm {record.name}    or choose another --name",
            )
        if holder:
            os.unlink(link)  # left by a process that was killed between the two steps below
        os.mkdir(directory, 0o700)
        os.symlink(record.id, link)
        # There from the start, so that a waiter can hold it open beyond the removal of --rm.
        os.close(
            os.open(f"{directory}/{EXIT_FILE}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        )
        _write_record(directory, record)
    return directory


def update_record(container_id: str, **changes: Any) -> ContainerRecord:
    """Change some fields of a record; return the new one.

    Raises:
        NoSuchContainerError: it was removed meanwhile.
    """
    root = state_directory()
    directory = f"{root}/containers/{container_id}"
    with locked(f"{root}/lock"):
        record = _read_record(directory)
        if record is None:
            raise _no_such_container(container_id)
        record = record._replace(**changes)
        _write_record(directory, record)
    return record


def load_record(name_or_id: str) -> ContainerRecord:
    """The container of that name, id, or unique beginning of an id.

    Raises:
        NoSuchContainerError: there is none.
        AmbiguousContainerError: several ids begin so.
    """
    root = state_directory()
    if name_or_id and "/" not in name_or_id and name_or_id not in (".", ".."):
        for container_id in (name_or_id, read_link(f"{root}/names/{name_or_id}")):
            record = _read_record(f"{root}/containers/{container_id}") if container_id else None
            if record is not None:
                return record
        if _ID_DIGITS.issuperset(name_or_id):
            found = [one for one in list_names(f"{root}/containers") if one.startswith(name_or_id)]
            if len(found) > 1:
                raise AmbiguousContainerError(
                    f"{name_or_id!r} begins the ids of {len(found)} containers",
                    evidence=", ".join(one[:12] for one in sorted(found)),
                    remedy="give more digits, or the name",
                )
            record = _read_record(f"{root}/containers/{found[0]}") if found else None
            if record is not None:
                return record
    raise _no_such_container(name_or_id)


def list_records() -> list[ContainerRecord]:
    """All containers, newest first. Clears away what a killed process left half-made."""
    root = state_directory()
    records = []
    for container_id in list_names(f"{root}/containers"):
        record = _read_record(f"{root}/containers/{container_id}")
        if record is not None:
            records.append(record)
        else:
            _sweep_abandoned(root, container_id)
    return sorted(records, key=lambda record: record.created, reverse=True)


def container_status(record: ContainerRecord) -> Status:
    """Whether the container runs, by its processes and its exit file."""
    # The exit file is looked at last again: it may appear while the processes are looked at.
    return (
        _exit_status(record.id)
        or _live_status(record)
        or _exit_status(record.id)
        or Status("dead", None)
    )


def write_exit(container_id: str, exit_code: int) -> None:
    """Note the exit code; nothing happens when the container was removed meanwhile."""
    root = state_directory()
    directory = f"{root}/containers/{container_id}"
    with locked(f"{root}/lock"):
        if os.path.exists(f"{directory}/record.json"):
            with open(f"{directory}/{EXIT_FILE}", "r+", encoding="utf-8") as stream:
                stream.write(f"{exit_code}\n")


def remove_record(container_id: str) -> None:
    """Forget a container and delete its files; its processes are not touched. Idempotent."""
    root = state_directory()
    directory = f"{root}/containers/{container_id}"
    with locked(f"{root}/lock"):
        record = _read_record(directory)
        # The record goes first: without it the container does not exist for anybody.
        delete_tree(directory)
        link = f"{root}/names/{record.name}" if record is not None else ""
        if link and read_link(link) == container_id:
            os.unlink(link)


def _exit_status(container_id: str) -> Status | None:
    try:
        with open(f"{container_directory(container_id)}/{EXIT_FILE}", encoding="utf-8") as stream:
            text = stream.read().strip()
            finished = os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return None
    return Status("exited", int(text), finished) if text.isdigit() else None


def _live_status(record: ContainerRecord) -> Status | None:
    if record.pid and is_alive(record.pid, record.pid_start):
        return Status("running", None)
    if record.supervisor_pid and is_alive(record.supervisor_pid, record.supervisor_start):
        return Status("running" if record.pid else "created", None)
    return None


def _no_such_container(name_or_id: str) -> NoSuchContainerError:
    return NoSuchContainerError(
        f"no container {name_or_id!r}",
        evidence=f"not in {state_directory()}",
        remedy="sampan ps -a lists the containers",
    )


def _private_directory(path: str) -> str:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            found = os.lstat(path)
        except OSError as error:
            raise StateDirectoryError(
                f"cannot make the state directory {path}",
                evidence=str(error.strerror),
                remedy="name a directory of yours in SAMPAN_RUNTIME",
            ) from error
    is_private = (
        stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    )
    if not is_private:
        raise StateDirectoryError(
            f"the state directory {path} could be changed by others",
            evidence=f"owner {found.st_uid}, mode {stat.filemode(found.st_mode)}",
            remedy=f"chmod 0700 {path}    or name another directory in SAMPAN_RUNTIME",
        )
    return path


def _owner(path: str) -> int:
    try:
        return os.stat(path).st_uid
    except OSError:
        return -1


def _read_record(directory: str) -> ContainerRecord | None:
    try:
        with open(f"{directory}/record.json", encoding="utf-8", errors="surrogateescape") as stream:
            found: dict[str, Any] = json.load(stream)
            known = {
                name: value for name, value in found.items() if name in ContainerRecord._fields
            }
            for name in _TUPLES:
                known[name] = tuple(known.get(name, ()))
            return ContainerRecord(**known)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise StateDirectoryError(
            "the record of a container is damaged",
            evidence=f"{directory}/record.json: {type(error).__name__}",
            remedy=f"rm -r {directory}    (end what still runs of it first)",
        ) from error


def _write_record(directory: str, record: ContainerRecord) -> None:
    write_whole(directory, "record.json", json.dumps(record._asdict()))


def _sweep_abandoned(root: str, container_id: str) -> None:
    directory = f"{root}/containers/{container_id}"
    with locked(f"{root}/lock"):
        try:
            age_s = time.time() - os.stat(directory).st_mtime
        except FileNotFoundError:
            return
        if age_s > _ABANDONED_AFTER_S and not os.path.exists(f"{directory}/record.json"):
            delete_tree(directory)
