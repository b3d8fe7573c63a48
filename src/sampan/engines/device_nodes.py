"""Device nodes of the driver and their ``/dev/char`` links, as ``nvidia-ctk system`` makes them.

runc looks a device up by its link in ``/dev/char`` where systemd manages the device filter; the kernel
module makes no such links (field note nvidia-container-toolkit, sections 1.1 and 8).
"""

import functools
import os
import stat
from collections.abc import Callable

from sampan.driver.procfs import read_whole_text
from sampan.errors import SampanError

CONTROL: tuple[tuple[str, str, int], ...] = (
    ("nvidiactl", "nvidia", 255), ("nvidia-modeset", "nvidia", 254),
    ("nvidia-uvm", "nvidia-uvm", 0), ("nvidia-uvm-tools", "nvidia-uvm", 1),
)  # fmt: skip
"""Name, name of the major number in /proc/devices, minor number."""
NOT_LINKED: tuple[str, ...] = ("nvidia-fs", "nvidia-nvswitch", "nvidia-nvlink")


class DeviceNodesError(SampanError):
    """A node or link cannot be made."""

    id = "device-nodes"


def create_char_links(dev_root: str = "/", dry_run: bool = False) -> list[str]:
    """Make ``/dev/char/MAJOR:MINOR`` for each node of the driver; what was, or would be, made.

    Raises:
        DeviceNodesError: a link cannot be made.
    """
    dev = f"{dev_root.rstrip('/')}/dev"
    made = []
    for directory in ("", "/nvidia-caps"):
        try:
            names = sorted(os.listdir(dev + directory))
        except OSError:
            continue
        for name in names:
            path = f"{dev}{directory}/{name}"
            status = os.lstat(path)
            if not stat.S_ISCHR(status.st_mode) or not name.startswith("nvidia"):
                continue
            if name.startswith(NOT_LINKED):
                continue
            number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
            link, target = f"{dev}/char/{number}", f"..{directory}/{name}"
            if os.path.lexists(link):
                continue
            made.append(f"{link} -> {target}")
            if not dry_run:
                _do(link, functools.partial(_link, link, target))
    return made


def create_nodes(
    dev_root: str = "/", dry_run: bool = False, *, proc_root: str = "/proc"
) -> list[str]:
    """Make the control nodes whose module is loaded; what was, or would be, made.

    Raises:
        DeviceNodesError: a node cannot be made.
    """
    majors = {}
    for line in read_whole_text(f"{proc_root}/devices").splitlines():
        number, _, name = line.strip().partition(" ")
        if number.isdecimal():
            majors[name.replace("nvidia-frontend", "nvidia")] = int(number)
    made = []
    for name, owner, minor in CONTROL:
        path = f"{dev_root.rstrip('/')}/dev/{name}"
        if owner not in majors or os.path.lexists(path):
            continue
        made.append(f"{path} c {majors[owner]}:{minor}")
        if not dry_run:
            device = os.makedev(majors[owner], minor)
            _do(path, functools.partial(_node, path, device))
    return made


def _link(link: str, target: str) -> None:
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.symlink(target, link)


def _node(path: str, device: int) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, device)
    os.chmod(path, 0o666)  # noqa: S103 - as the kernel module itself says (DeviceFileMode 438)


def _do(path: str, act: Callable[[], None]) -> None:
    try:
        act()
    except OSError as error:
        raise DeviceNodesError(
            f"cannot make {path}", evidence=error.strerror or "", remedy="do it as root: sudo"
        ) from error
