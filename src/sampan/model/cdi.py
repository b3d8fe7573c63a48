"""The Container Device Interface's documents as data (CDI SPEC.md, versions 0.3.0 to 1.1.0).

Reading, writing and validating files is not here: ``injection.cdi_*`` makes and checks documents,
``driver.cdi_files`` finds them.
"""

from typing import NamedTuple


class CdiDeviceNode(NamedTuple):
    """``deviceNodes[]``; None and empty mean absent.

    Attributes:
        kind: ``b``, ``c``, ``u`` or ``p``: the document's ``type``.
        permissions: letters of ``rwm``.
    """

    path: str
    host_path: str = ""
    kind: str = ""
    major: int | None = None
    minor: int | None = None
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


class CdiMount(NamedTuple):
    """``mounts[]``."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    kind: str = ""


class CdiHook(NamedTuple):
    """``hooks[]``; ``name`` is the OCI stage, e.g. ``createContainer``."""

    name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class CdiNetDevice(NamedTuple):
    """``netDevices[]`` (1.1.0)."""

    host_interface_name: str
    name: str


class CdiIntelRdt(NamedTuple):
    """``intelRdt`` (0.7.0, ``schemata`` and ``enable_monitoring`` 1.1.0)."""

    clos_id: str = ""
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    schemata: tuple[str, ...] = ()
    enable_cmt: bool = False
    enable_mbm: bool = False
    enable_monitoring: bool = False


class CdiEdits(NamedTuple):
    """``containerEdits``; ``env`` are ``NAME=value`` words."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[CdiDeviceNode, ...] = ()
    net_devices: tuple[CdiNetDevice, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    intel_rdt: CdiIntelRdt | None = None


class CdiDevice(NamedTuple):
    """One entry of ``devices``; annotations are pairs, sorted by key."""

    name: str
    edits: CdiEdits
    annotations: tuple[tuple[str, str], ...] = ()


class CdiSpec(NamedTuple):
    """A whole document.

    Attributes:
        version: the declared ``cdiVersion``.
        kind: ``vendor.com/class``.
    """

    version: str
    kind: str
    devices: tuple[CdiDevice, ...]
    edits: CdiEdits = CdiEdits()
    annotations: tuple[tuple[str, str], ...] = ()
