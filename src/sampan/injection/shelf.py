"""Puts the driver's files on one small file system in the container, the *shelf*, with links to them.

For engines whose containers are made from images that nobody here has seen. Mounted each at its own
place, a file leaves an empty one in the container's layer, which ``docker commit`` keeps. A link leads
to nothing in an image made of the container, and is put right at the next start.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sampan.model.hook import HookFile, HookLink, HookRequest
from sampan.model.plan import PlannedMount

SHELF = "/run/sampan/driver"
SHELF_OPTIONS: tuple[str, ...] = ("nosuid", "nodev", "mode=0755", "size=1m", "nr_inodes=8192")
LOADER_LIST = "/etc/ld.so.conf.d/00-sampan-driver.conf"


class Shelved(NamedTuple):
    """Mounts and the hook's work after the move; None = no hook."""

    mounts: tuple[PlannedMount, ...]
    request: HookRequest | None


def shelve_files(
    mounts: Sequence[PlannedMount], request: HookRequest | None, directories: Collection[str]
) -> Shelved:
    """Move every file that is mounted to the shelf.

    Args:
        mounts: of a plan.
        request: what the hook is to do; without one links cannot be made, and all stays.
        directories: host paths that are directories; a directory leaves nothing but itself.
    """
    if request is None:
        return Shelved(tuple(mounts), None)
    moved = [mount for mount in mounts if mount.host_path not in directories]
    if not moved:
        return Shelved(tuple(mounts), request)
    # A fresh one each time: links from an earlier start of the same container are not there.
    shelf = PlannedMount("tmpfs", SHELF, SHELF_OPTIONS, "tmpfs")
    laid = [mount._replace(container_path=SHELF + mount.container_path) for mount in moved]
    folders = dict.fromkeys(library.directory for library in request.libraries)
    files = list(request.files)
    if folders:
        # For an ldconfig that runs in the container later.
        files.append(HookFile(LOADER_LIST, "".join(f"{folder}\n" for folder in folders)))
    # A library's other names are links to this one, beside it, as they would be to the file.
    links = [HookLink(one.container_path, SHELF + one.container_path) for one in moved]
    kept = [mount for mount in mounts if mount.host_path in directories]
    return Shelved(
        (shelf, *laid, *kept),
        request._replace(links=(*links, *request.links), files=tuple(files)),
    )
