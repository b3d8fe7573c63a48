"""Edits of a CDI document in the plan's words, with the defaults that CDI gives what is not said.

Source: CDI's own library (``pkg/cdi``, container-edits; field note nvidia-container-toolkit, 5.3).
"""

from sampan.model.cdi import CdiDeviceNode, CdiMount
from sampan.model.plan import PlannedDevice, PlannedMount

_DEFAULT_MODE = 0o666


def planned_mount(mount: CdiMount, container_path: str) -> PlannedMount:
    """A mount of a document.

    Args:
        mount: as the document has it.
        container_path: where it goes in truth.
    """
    kind = "bind" if mount.kind in ("", "none") else mount.kind
    options = mount.options or (("rbind", "rprivate") if kind == "bind" else ())
    return PlannedMount(mount.host_path, container_path, options, kind)


def planned_device(node: CdiDeviceNode, owner: tuple[int, int]) -> PlannedDevice:
    """A device node of a document.

    Args:
        node: as the document has it, its numbers filled in from the host.
        owner: uid and gid that it gets where the document names none.
    """
    return PlannedDevice(
        path=node.path,
        host_path=node.host_path or node.path,
        major=node.major or 0,
        minor=node.minor or 0,
        mode=_DEFAULT_MODE if node.file_mode is None else node.file_mode & 0o777,
        uid=owner[0] if node.uid is None else node.uid,
        gid=owner[1] if node.gid is None else node.gid,
        permissions="" if node.permissions == "none" else node.permissions or "rwm",
        kind="c" if node.kind == "u" else node.kind,
    )
