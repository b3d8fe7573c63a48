"""The container's writable layer on disk, for hosts where it cannot be, or should not be, memory.

In memory by default: a tmpfs that nobody has to delete. On disk when ``SAMPAN_UPPER`` names a
directory (containers that write more than fits into memory), and for ordinary users on kernels
whose tmpfs has no ``user.*`` attributes (before Linux 6.6).
"""

import contextlib
import os

from sampan.errors import SampanError
from sampan.kernel import libc, userns
from sampan.kernel.trees import remove_tree

VARIABLE = "SAMPAN_UPPER"
_TMPFS_USER_ATTRIBUTES = (6, 6)


class WritableLayerError(SampanError):
    """No directory for the writable layer."""

    id = "writable-layer"


def plan_writable_directory(container_id: str, *, rootful: bool, linux: tuple[int, int]) -> str:
    """Where the layer is to lie on the host; empty = in memory."""
    parent = os.environ.get(VARIABLE, "")
    if not parent:
        if rootful or linux >= _TMPFS_USER_ATTRIBUTES:
            return ""
        parent = os.environ.get("TMPDIR", "") or "/var/tmp"
    return f"{os.path.abspath(parent)}/sampan-{os.geteuid()}-{container_id[:16]}"


def make_writable_directory(path: str) -> None:
    """Make the directory: fresh, and the user's alone.

    Raises:
        WritableLayerError: it cannot be made.
    """
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise WritableLayerError(
            "cannot make the directory for the container's writable layer",
            evidence=f"{error.strerror}: {path}",
            remedy=f"set {VARIABLE} to a directory on a local file system that you may write to",
        ) from error


def remove_writable_directory(
    path: str, maps: userns.IdMaps | None, newuidmap: str, newgidmap: str
) -> None:
    """Delete the directory and all below it, also what belongs to subordinate ids."""
    if maps is None or maps.single:
        remove_tree(path)
        return
    # Files of subordinate ids can only be deleted where these ids are ours.
    gate, opener = os.pipe()
    child = libc.clone(libc.CLONE_NEWUSER)
    if child == 0:
        try:
            os.close(opener)
            if os.read(gate, 1):
                remove_tree(path, keep_root=True)
        finally:
            os._exit(0)
    os.close(gate)
    try:
        userns.write_id_maps(child, maps, newuidmap, newgidmap)
        os.write(opener, b"m")
    finally:
        os.close(opener)
        os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        os.rmdir(path)
