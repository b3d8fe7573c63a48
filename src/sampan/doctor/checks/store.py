"""The store of images: who may write it, room, kind of file system, what crashes left behind."""

import os
from collections.abc import Iterator
from itertools import islice

from sampan.doctor.finding import Finding, broken, info, ok, warning
from sampan.doctor.looks.mounts import list_mounts, mount_of
from sampan.doctor.subject import Subject
from sampan.images.store import UnsafeStoreError, check_store
from sampan.images.store_access import free_bytes
from sampan.images.store_layout import COMPRESSIONS, StoreLayout, locate_store
from sampan.kernel.isolated import IsolatedError, call_isolated

TIMEOUT_S = 5.0
LITTLE_BYTES = 5 << 30
OLD_S = 86400.0
MAXIMUM_NAMES = 100_000
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "lustre", "beegfs", "gpfs"})
PASSING = frozenset({"tmpfs", "ramfs"})


def check(subject: Subject) -> Iterator[Finding]:
    """Look only; a file system that does not answer is left alone after TIMEOUT_S seconds."""
    host = subject.host
    layout = locate_store(host.environment)
    try:
        call_isolated(lambda: str(os.path.exists(layout.root)).encode(), timeout_s=TIMEOUT_S)
    except IsolatedError as error:
        yield broken(
            "store-hangs", f"the file system of the store {layout.root} does not answer", error.evidence,
            remedy="look after its server (NFS?), or SAMPAN_STORE=DIRECTORY elsewhere",
        )  # fmt: skip
        return
    found = list(_judge(subject, layout))
    yield from found
    if not found:
        yield ok(
            "store", f"the store {layout.root} is in order", f"{_show(free_bytes(layout))} free"
        )


def _judge(subject: Subject, layout: StoreLayout) -> Iterator[Finding]:
    try:
        exists = check_store(layout)
    except UnsafeStoreError as error:
        yield broken("store-open", error.cause, error.evidence, symptom=f"error[{error.id}]",
            remedy=error.remedy,
        )  # fmt: skip
        exists = True
    except OSError as error:
        subject.host.unseen[layout.root] = None
        yield info(
            "store-unseen", f"the store {layout.root} cannot be looked at", error.strerror or ""
        )
        return
    place = layout.root if exists else _nearest(layout.root)
    if not os.access(place, os.W_OK):
        yield info("store-read-only", f"this user cannot write to {place}: images can be run, not pulled",
            remedy="SAMPAN_STORE=DIRECTORY names another store",
        )  # fmt: skip
    free = free_bytes(layout)
    if free < LITTLE_BYTES:
        yield warning("store-room", f"the store has {_show(free)} left; images of NGC take 5 to 20 GiB",
            layout.root, symptom="error[store]: not enough room in the store",
            remedy="sampan prune, or SAMPAN_STORE=DIRECTORY on another disk",
        )  # fmt: skip
    mount = mount_of(list_mounts(subject.host), layout.root)
    if mount and mount.kind in NETWORK:
        yield info("store-network", f"the store lies on {mount.kind}: it needs locks across machines",
            mount.point, symptom="error[store]: the file system has no locks (NFS without lockd?)",
            remedy="SAMPAN_STORE=DIRECTORY on a local disk, if starts are slow",
        )  # fmt: skip
    elif mount and mount.kind in PASSING:
        yield info("store-volatile", f"the store lies on {mount.kind}: a reboot empties it", mount.point,
            remedy="SAMPAN_STORE=DIRECTORY on a disk",
        )  # fmt: skip
    left = _find_left_over(layout, subject.host.now) if exists else []
    if left:
        yield info("store-left-over",
            f"{len(left)} temporary files of crashed pulls are in the store; the next pull removes them",
            ", ".join(left[:3]),
        )  # fmt: skip


def _find_left_over(layout: StoreLayout, now: float) -> list[str]:
    old = []
    places = [layout.images, layout.refs, *map(layout.packs, COMPRESSIONS)]
    for place in places:
        try:
            with os.scandir(place) as entries:
                for entry in islice(entries, MAXIMUM_NAMES):
                    if entry.name.startswith(".tmp-"):
                        age = now - entry.stat(follow_symlinks=False).st_mtime
                        old += [entry.path] if age > OLD_S else []
        except OSError:
            continue
    return old


def _nearest(path: str) -> str:
    while path != "/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _show(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
