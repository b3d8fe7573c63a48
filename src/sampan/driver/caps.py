"""NVIDIA's capability files in procfs and the nodes in ``/dev/nvidia-caps`` that stand for them.

A process that may open ``/dev/nvidia-caps/nvidia-cap<n>`` has the capability whose file in procfs
says ``DeviceFileMinor: n`` (NVIDIA's MIG user guide, "Device Nodes and Capabilities").
"""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.driver.nodes import DeviceView
from sampan.driver.procfs import read_text, read_whole_text
from sampan.model.inventory import DeviceNode

NODES = "/dev/nvidia-caps"
CAPABILITIES = "/proc/driver/nvidia/capabilities"
NVLINK_CAPABILITIES = "/proc/driver/nvidia-nvlink/capabilities"
MINOR_TABLES: tuple[str, ...] = ("mig-minors", "nvlink-minors", "sys-minors")
"""In ``/proc/driver/nvidia-caps``; lines like ``gpu0/gi1/access 12`` and ``config 1``."""


class Capability(NamedTuple):
    """One capability file, e.g. ``.../capabilities/mig/config``; minor is -1 when nobody says it."""

    file: str
    minor: int
    node: DeviceNode | None

    @property
    def node_path(self) -> str:
        """Where its node belongs; empty when the number is unknown."""
        return f"{NODES}/nvidia-cap{self.minor}" if self.minor >= 0 else ""


def find_capability(
    view: DeviceView, file: str, name: str, tables: Mapping[str, int]
) -> Capability | None:
    """The capability of ``file`` (written with ``/proc``), or None when this host has none such.

    Args:
        view: where to look.
        file: path of the capability file.
        name: in the tables, e.g. ``gpu0/gi1/access``.
        tables: from ``read_minor_tables``; asked when the file does not say its minor, since what
            masks procfs in a container leaves these tables there.
    """
    text = read_text(view.proc_root + file.removeprefix("/proc"))
    minor = _parse_minor(text)
    if minor < 0:
        minor = tables.get(name, -1)
    if minor < 0 and not text:
        return None
    path = f"{NODES}/nvidia-cap{minor}"
    return Capability(file, minor, view.read(path) if minor >= 0 else None)


def read_minor_tables(proc_root: str) -> dict[str, int]:
    """The kernel module's table of capability names and minors, all kinds together."""
    found: dict[str, int] = {}
    for table in MINOR_TABLES:
        for line in read_whole_text(f"{proc_root}/driver/nvidia-caps/{table}").splitlines():
            name, _, number = line.strip().rpartition(" ")
            if number.isascii() and number.isdecimal():
                found[name.strip()] = int(number)
    return found


def _parse_minor(text: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "DeviceFileMinor" and value.strip().isdecimal():
            return int(value)
    return -1
