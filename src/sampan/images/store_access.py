"""Writing to a store: its directories, its locks, and what a refusal of the system means there.

Three locks, all advisory (``kernel.locks``), taken in this order:

- ``store``: shared by an import for its whole length, exclusive by a prune, so that a prune never
  deletes what an import counts on.
- one for each layer and each image: whoever holds it does the work, the others wait and find it
  done. Only taken under ``store``, so a prune may delete the files of these locks.
- ``names``: exclusive, for the moments in which names change or an image disappears.

Where the file system's locks are refused, or stay within one host (``kernel.lock_support``), leases
take their place (``kernel.leases``). The first to find that out says so to the other hosts by the
file ``locks/leases``: all must do the same.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from sampan.errors import SampanError
from sampan.images.store import check_store
from sampan.images.store_layout import COMPRESSIONS, StoreLayout, hex_of
from sampan.kernel.atomic import write_atomic
from sampan.kernel.leases import leased
from sampan.kernel.lock_support import NO_LOCKS, find_lock_trouble
from sampan.kernel.locks import leave_note, locked

LEASES_MARK = "leases"
"""File in ``locks/`` that says why leases are used; its presence decides for all hosts."""


class StoreError(SampanError):
    """The store cannot be written: no room, no permission, no locks."""

    id = "store"


REMEDIES = {
    errno.ENOSPC: "free space (sampan prune), or use another disk: SAMPAN_STORE=DIRECTORY",
    errno.EDQUOT: "your quota is used up: sampan prune, or SAMPAN_STORE=DIRECTORY elsewhere",
    errno.EACCES: "use a directory that you may write: SAMPAN_STORE=DIRECTORY",
    errno.EPERM: "use a directory that you may write: SAMPAN_STORE=DIRECTORY",
    errno.EROFS: "the file system is read-only: SAMPAN_STORE=DIRECTORY",
    errno.ENOTDIR: "move the file that stands where a directory must be",
}


@contextlib.contextmanager
def store_errors(layout: StoreLayout) -> Iterator[None]:
    """Turn the system's refusals inside the store into a StoreError with a remedy.

    Raises:
        StoreError: in place of an OSError of the body.
    """
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename) if error.filename else layout.root
        raise StoreError(
            f"cannot write to the store {layout.root}",
            evidence=f"{name}: {error.strerror}{_room(layout, error.errno)}",
            remedy=REMEDIES.get(error.errno or 0, ""),
        ) from error


def create_store(layout: StoreLayout) -> None:
    """Make the store's directories where they are missing.

    Raises:
        StoreError: the directories cannot be made.
        UnsafeStoreError: everybody may write into the root.
    """
    # Where the umask keeps others from nothing, they must not be able to put images here.
    mask = os.umask(0o077)
    os.umask(mask | 0o002)
    try:
        _make_directories(layout)
    finally:
        os.umask(mask)
    check_store(layout)


def _make_directories(layout: StoreLayout) -> None:
    with store_errors(layout):
        for directory in (
            layout.images,
            layout.refs,
            layout.locks,
            layout.partials,
            *map(layout.packs, COMPRESSIONS),
            *map(layout.diffs, COMPRESSIONS),
        ):
            os.makedirs(directory, exist_ok=True)


def existing_place(layout: StoreLayout) -> str:
    """The store's directory, or the nearest above it: where it lies, or will lie."""
    place = layout.root
    while not os.path.exists(place) and place != "/":
        place = os.path.dirname(place)
    return place


def free_bytes(layout: StoreLayout) -> int:
    """Bytes that this user may still write on the store's file system (quotas not counted)."""
    state = os.statvfs(existing_place(layout))
    return state.f_bavail * state.f_frsize


@contextlib.contextmanager
def import_lock(layout: StoreLayout) -> Iterator[None]:
    """Keep prunes away while an import counts on what it found."""
    with _lock(layout, "store", shared=True):
        yield


@contextlib.contextmanager
def reading_lock(layout: StoreLayout) -> Iterator[None]:
    """Keep prunes away while somebody reads, where the store lets itself be locked.

    A store that this user may only read is read without: a file that vanishes is then an error.

    Raises:
        UnsafeStoreError: everybody may write into the store.
    """
    with contextlib.ExitStack() as stack:
        if check_store(layout) and os.access(layout.locks, os.W_OK):
            stack.enter_context(import_lock(layout))
        yield


@contextlib.contextmanager
def prune_lock(layout: StoreLayout) -> Iterator[Callable[[], None]]:
    """Wait for all imports to end and keep new ones away.

    Returns:
        What to call before each deletion: it raises StoreError when we were stopped for so long
        that others went on without us.
    """
    with _lock(layout, "store") as lock:

        def require() -> None:
            if not lock.is_held():
                raise StoreError(
                    f"others have gone on in the store {layout.root} without us",
                    evidence="this process was stopped, or its network was, and its lease ran out",
                    remedy="type it again",
                )

        yield require


@contextlib.contextmanager
def names_lock(layout: StoreLayout) -> Iterator[None]:
    """Be the only one who changes names."""
    with _lock(layout, "names"):
        yield


@contextlib.contextmanager
def layer_lock(
    layout: StoreLayout,
    compression: str,
    digest: str,
    waiting: Callable[[int], None] | None = None,
) -> Iterator[Callable[[int], None]]:
    """Be the only one who packs this layer.

    Args:
        layout: the store.
        compression: of the pack.
        digest: of the layer.
        waiting: called while another process packs it, with the bytes that it has read.

    Returns:
        What takes our own progress for others to see.
    """

    def hear(note: bytes) -> None:
        if waiting is not None and (note.isdigit() or not note):
            waiting(int(note or b"0"))

    name = f"layer-{compression}-{hex_of(digest)}"
    with _lock(layout, name, waiting=hear if waiting else None) as lock:
        yield lambda done: lock.leave_note(b"%d" % done)


@contextlib.contextmanager
def image_lock(layout: StoreLayout, digest: str) -> Iterator[None]:
    """Be the only one who links this image."""
    with _lock(layout, f"image-{hex_of(digest)}"):
        yield


def passing_locks(layout: StoreLayout) -> list[Path]:
    """The files of layer and image locks; a prune may delete them."""
    return sorted(
        Path(entry.path)
        for entry in os.scandir(layout.locks)
        if entry.name.startswith(("layer-", "image-"))
        # What a process that was killed at the wrong moment leaves of a lease.
        or ".lease.new-" in entry.name
        or ".lease.aside-" in entry.name
    )


class _Held(Protocol):
    """A lock or lease that is held."""

    def is_held(self) -> bool: ...

    def leave_note(self, text: bytes, /) -> None: ...


class _KernelLock:
    """A lock of the kernel: nobody succeeds us while we live."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def is_held(self) -> bool:
        return True

    def leave_note(self, text: bytes, /) -> None:
        leave_note(self._descriptor, text)


@contextlib.contextmanager
def _lock(
    layout: StoreLayout,
    name: str,
    *,
    shared: bool = False,
    waiting: Callable[[bytes], None] | None = None,
) -> Iterator[_Held]:
    with contextlib.ExitStack() as stack:
        # Only the lock itself: what goes wrong under it is mapped by who does it.
        with store_errors(layout):
            held = _take(layout, name, stack, shared, waiting)
        yield held


def _take(
    layout: StoreLayout,
    name: str,
    stack: contextlib.ExitStack,
    shared: bool,
    waiting: Callable[[bytes], None] | None,
) -> _Held:
    path = f"{layout.locks}/{name}"
    mark = f"{layout.locks}/{LEASES_MARK}"
    if not os.path.exists(mark):
        reason = find_lock_trouble(layout.locks)
        if not reason:
            try:
                lock = locked(f"{path}.lock", shared=shared, waiting=waiting)
                return _KernelLock(stack.enter_context(lock))
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                reason = f"locking says: {error.strerror}"
        write_atomic(Path(mark), f"{reason}\nDelete this when no Sampan runs.\n".encode())
    return stack.enter_context(leased(f"{path}.lease", shared=shared, waiting=waiting))


def _room(layout: StoreLayout, number: int | None) -> str:
    if number not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    with contextlib.suppress(OSError):
        return f"; {free_bytes(layout):,} bytes are free there"
    return ""
