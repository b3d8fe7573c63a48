"""Locks for file systems that have none: a file made by link(2) that its holder keeps touching.

For Lustre without ``-o flock``, NFS without lockd and the like, where several hosts use one
directory. A lease is a file; who links it holds it, a thread touches it every two seconds, and who
waits watches whether it changes. No two clocks are ever compared: a waiter measures on its own
clock how long the file has stayed the same. A holder on this machine whose process is gone is
succeeded at once, any other after half a minute without a touch.

A holder that was stopped for longer (SIGSTOP, a network that hung) finds out by ``is_held`` that it
was succeeded; between its last look and its next step two may be at work. So what is done under a
lease must be harmless when done twice: here files are written aside and renamed, equal bytes over
equal bytes. That is weaker than a lock of the kernel, which is why those come first.
"""

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

BEAT_S = 2.0
"""How often a holder touches its lease."""

PATIENCE_S = 30.0
"""How long a lease may stay untouched before somebody else takes it over."""

_POLL_S = 0.2
_HEAD_BYTES = 448
_NOTE_BYTES = 64
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Lease:
    """A lease that this process holds."""

    def __init__(self, path: str, token: str, descriptor: int) -> None:
        self._path = path
        self._token = token
        self._descriptor = descriptor
        self._note = b""
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="sampan-lease", daemon=True)
        self._beats.start()

    def leave_note(self, text: bytes) -> None:
        """Tell those who wait something, in at most 64 bytes; seen at the next touch."""
        self._note = text

    def is_held(self) -> bool:
        """Whether nobody has succeeded us.

        Raises:
            OSError: the file system does not say.
        """
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._descriptor)
        return (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)

    def release(self) -> None:
        """Let the next one in; nothing happens to the lease of a successor."""
        self._ended.set()
        self._beats.join()
        os.close(self._descriptor)
        with contextlib.suppress(OSError):
            _take_away(self._path, self._token)

    def _beat(self) -> None:
        written = b""
        while not self._ended.wait(BEAT_S):
            # A file system that hangs makes us late, one that fails makes us succeeded.
            with contextlib.suppress(OSError):
                if self._note != written:
                    written = self._note
                    text = written[:_NOTE_BYTES].ljust(_NOTE_BYTES)
                    os.pwrite(self._descriptor, text, _HEAD_BYTES)
                os.utime(self._descriptor)
                os.fsync(self._descriptor)


class _Seen(NamedTuple):
    """What a lease file says."""

    token: str
    is_gone: bool
    note: bytes
    state: tuple[int, int, bytes]


class _Watch:
    """Decides on this process's own clock which leases are dead."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[tuple[int, int, bytes], float]] = {}

    def find_dead(self, seen: _Seen, path: str) -> bool:
        if seen.is_gone:
            return True
        state, since = self._known.get(path, (None, 0.0))
        if state != seen.state:
            self._known[path] = (seen.state, self._clock())
            return False
        return self._clock() - since > PATIENCE_S


@contextlib.contextmanager
def leased(
    path: str, *, shared: bool = False, waiting: Callable[[bytes], None] | None = None
) -> Iterator[Lease]:
    """Hold a lease, waiting for it if needed.

    Args:
        path: of the lease file, which is there only while somebody holds it.
        shared: let other shared holders in; each has a file of its own beside ``path``.
        waiting: called while another one holds it, with the note that he has left.

    Raises:
        OSError: the directory cannot be written.
    """
    tell = waiting or (lambda _: None)
    lease = _take_shared(path, tell) if shared else _take(path, tell)
    try:
        if not shared:
            _wait_for_shared(path, tell)
        yield lease
    finally:
        lease.release()


def _take(path: str, tell: Callable[[bytes], None]) -> Lease:
    watch = _Watch()
    while True:
        lease = _try_to_take(path)
        if lease is not None:
            return lease
        _wait(path, watch, tell)


def _take_shared(path: str, tell: Callable[[bytes], None]) -> Lease:
    watch = _Watch()
    while True:
        # Ours first, then a look for the exclusive one, who does it the other way round: one of
        # the two sees the other.
        lease = _try_to_take(f"{path}.shared-{os.urandom(8).hex()}")
        if lease is not None:
            try:
                if _look(path) is None:
                    return lease
            except BaseException:
                lease.release()
                raise
            lease.release()
        _wait(path, watch, tell)


def _wait_for_shared(path: str, tell: Callable[[bytes], None]) -> None:
    watch = _Watch()
    directory, name = os.path.split(path)
    while others := [one for one in os.listdir(directory) if one.startswith(f"{name}.shared-")]:
        for other in others:
            _wait(f"{directory}/{other}", watch, tell)


def _wait(path: str, watch: _Watch, tell: Callable[[bytes], None]) -> None:
    """Look at a lease of another one once, and take it away if he is dead."""
    seen = _look(path)
    if seen is None:
        return
    if watch.find_dead(seen, path):
        _take_away(path, seen.token)
        return
    tell(seen.note)
    time.sleep(_POLL_S)


def _try_to_take(path: str) -> Lease | None:
    token = os.urandom(16).hex()
    head = json.dumps({"token": token, **_identity(os.getpid())}).encode()
    content = head[:_HEAD_BYTES].ljust(_HEAD_BYTES + _NOTE_BYTES)
    aside = f"{path}.new-{token}"
    descriptor = _create(aside, content)
    try:
        try:
            os.link(aside, path)
        except FileExistsError:
            # Over NFS an answer may be lost and the request repeated: the link count knows.
            if os.fstat(descriptor).st_nlink < 2:
                os.close(descriptor)
                return None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _NO_LINKS:
                raise
            try:
                descriptor = _create(path, content)
            except FileExistsError:
                return None
    finally:
        os.unlink(aside)
    return Lease(path, token, descriptor)


def _create(path: str, content: bytes) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    os.write(descriptor, content)
    os.fsync(descriptor)
    return descriptor


def _look(path: str) -> _Seen | None:
    """What a lease says now; opening it makes NFS ask its server."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        content = os.read(descriptor, _HEAD_BYTES + _NOTE_BYTES)
    finally:
        os.close(descriptor)
    note = content[_HEAD_BYTES:].strip(b" \0")
    try:
        head = json.loads(content[:_HEAD_BYTES])
        token, is_gone = str(head.pop("token")), _is_gone(head)
    except (ValueError, KeyError, TypeError, AttributeError):
        # Half-written by a host that died, where there are no links: only time tells.
        token, is_gone = "", False
    return _Seen(token, is_gone, note, (status.st_ino, status.st_mtime_ns, note))


def _take_away(path: str, token: str) -> bool:
    """Remove the lease with this token and no other; whether it was there."""
    aside = f"{path}.aside-{os.urandom(8).hex()}"
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    seen = _look(aside)
    is_right = seen is not None and seen.token == token
    if not is_right:
        # Between our look and our rename somebody else took it over. Give it back, unless a third
        # one has come meanwhile: then its holder finds out by ``is_held``.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    return is_right


def _identity(process: int) -> dict[str, object]:
    """A process, told apart from every other one on every host as long as it lives."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        boot = stream.read().strip()
    with open(f"/proc/{process}/stat", "rb") as raw:
        started = int(raw.read().rpartition(b")")[2].split()[19])
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return {"host": os.uname().nodename[:64], "boot": boot, "namespace": namespace,
            "pid": process, "started": started}  # fmt: skip


def _is_gone(holder: dict[str, object]) -> bool:
    """Whether the holder is known to be dead; of other hosts' and containers' only time tells."""
    here = _identity(os.getpid())
    if any(holder.get(key) != here[key] for key in ("host", "boot", "namespace")):
        return False
    try:
        return _identity(int(str(holder["pid"])))["started"] != holder["started"]
    except (FileNotFoundError, ProcessLookupError):
        return True
