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
    places = {mount.container_path for mount in moved}
    libraries = []
    links = list(request.links)
    folders: dict[str, None] = {}
    told = set()
    for library in request.libraries:
        file = f"{library.directory}/{library.file}"
        if file not in places:
            libraries.append(library)
            continue
        told.add(file)
        folder = SHELF + library.directory
        folders[folder] = None
        libraries.append(library._replace(directory=folder))
        # Programs that know a path, and those that search directories, find what they look for.
        links += [
            HookLink(f"{library.directory}/{name}", f"{folder}/{name}")
            for name in library.names or (library.file,)
        ]
    links += [
        HookLink(path, SHELF + path)
        for path in (mount.container_path for mount in moved)
        if path not in told
    ]
    files = list(request.files)
    if folders:
        # For an ldconfig that runs in the container later.
        files.append(HookFile(LOADER_LIST, "".join(f"{folder}\n" for folder in folders)))
    kept = [mount for mount in mounts if mount.host_path in directories]
    return Shelved(
        (shelf, *laid, *kept),
        request._replace(
            libraries=tuple(libraries),
            links=tuple({link.path: link for link in links}.values()),
            files=tuple(files),
        ),
    )
