"""The import plan: everything of the host's driver that one container gets, and why.

The plan is a value. Renderers turn it into edits of an OCI ``config.json``, a CDI spec, or flags of
another engine; nobody adds to it on the way.
"""

from typing import NamedTuple


class PlannedMount(NamedTuple):
    """A bind mount of a host file, directory or socket.

    Attributes:
        host_path: on the host, driver root included, links resolved.
        container_path: real path in the image (its parent directories hold no links).
        options: OCI mount options, e.g. ("ro", "nosuid", "nodev", "rbind", "rprivate").
        kind: the OCI mount's type; a CDI document may want another, e.g. ``tmpfs``, whose
            ``host_path`` is then no path.
    """

    host_path: str
    container_path: str
    options: tuple[str, ...]
    kind: str = "bind"


class PlannedDevice(NamedTuple):
    """A device node to appear in the container.

    Attributes:
        path: in the container; ``host_path`` on the host (dev root included).
        mode: permission bits. ``permissions`` is the device cgroup rule (``rwm`` letters); empty =
            no rule.
        kind: ``c``, or of other vendors' devices ``b`` or ``p`` (a FIFO, without numbers).
    """

    path: str
    host_path: str
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    permissions: str
    kind: str = "c"


class PlannedLink(NamedTuple):
    """A symbolic link to create: real container path, target as written."""

    path: str
    target: str


class PlannedFile(NamedTuple):
    """A small file computed by us: ld.so.cache, an ICD description, a /proc file's replacement.

    ``mount`` says that it must be bind-mounted over the path (the path lies in a kernel file
    system such as /proc); else it is written into the container's writable layer.
    """

    path: str
    content: bytes
    mode: int
    mount: bool = False


class PlannedHook(NamedTuple):
    """A program of another vendor's CDI document, which the OCI runtime runs.

    Attributes:
        stage: of the runtime-spec's hooks, e.g. ``createContainer``.
        arguments: the vector, program name first. ``environment`` is all that the program gets; it
            is never empty, for then runc would give it the container's.
        timeout_s: None = none.
    """

    stage: str
    path: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    timeout_s: int | None = None


class Reason(NamedTuple):
    """Why an item is in the plan, or was left out.

    Attributes:
        item: what: a container path, ``env NAME``, ``group N``.
        included: False for what was left out.
        why: one clause, e.g. ``capability compute; libcuda.so.1 of driver 580.95.05``.
        source: where it comes from on the host, or the rule that excluded it.
    """

    item: str
    included: bool
    why: str
    source: str


class ImportPlan(NamedTuple):
    """What one container gets of the host's driver. The empty plan imports nothing."""

    mounts: tuple[PlannedMount, ...] = ()
    devices: tuple[PlannedDevice, ...] = ()
    links: tuple[PlannedLink, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    additional_gids: tuple[int, ...] = ()
    hooks: tuple[PlannedHook, ...] = ()
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()
