"""The inventory of an unchanged host from a small file, without NVML and without a search.

The file lies under the XDG cache home. It is believed only when the caller owns it, nobody else
may write it, and the fingerprint taken now equals the one it was written with. It is never needed:
an unreadable or unwritable cache means a fresh inventory each time.
"""

import json
import os
import stat
from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.driver.fingerprint import list_node_states, list_watched, take_fingerprint
from sampan.model.inventory import DeviceNode, DriverFile, DriverLibrary, Gpu, Inventory

MAXIMUM_BYTES = 4 << 20
FORMAT = [
    list(record._fields) for record in (Inventory, DriverLibrary, DriverFile, DeviceNode, Gpu)
]
"""Written into each file: a record that has changed makes older files unreadable."""


def current_inventory(
    driver_root: str = "/",
    dev_root: str = "/",
    *,
    library_search_paths: Sequence[str] = (),
    proc_root: str = "/proc",
    sys_root: str = "/sys",
    machine: str = "",
    environment: Mapping[str, str] | None = None,
) -> Inventory:
    """The host's inventory: the cached one when it still holds, else a fresh one, then cached.

    Args:
        driver_root: as in ``take_inventory``, and so are the others.
        dev_root: directory that holds ``dev``.
        library_search_paths: library directories inside the driver root to look into first.
        proc_root: where procfs is.
        sys_root: where sysfs is.
        machine: ELF machine; empty = this host's.
        environment: where XDG_CACHE_HOME and HOME are looked up; None = the process's.
    """
    machine = machine or os.uname().machine
    key: list[object] = [
        driver_root,
        dev_root,
        list(library_search_paths),
        proc_root,
        sys_root,
        machine,
    ]
    path = locate_cache(key, os.environ if environment is None else environment)
    cached = _load(path, key, dev_root, proc_root) if path else None
    if cached is not None:
        return cached
    from sampan.driver.inventory import take_inventory

    before = take_fingerprint((), dev_root, proc_root)
    inventory = take_inventory(
        driver_root,
        dev_root,
        library_search_paths=library_search_paths,
        proc_root=proc_root,
        sys_root=sys_root,
        machine=machine,
    )
    # NVML may load modules and make nodes when first used: what changed meanwhile is not kept.
    steady = before == take_fingerprint((), dev_root, proc_root)
    if path and steady and _is_complete(inventory, dev_root):
        watched = list_watched(inventory, machine)
        document = {
            "format": FORMAT,
            "key": key,
            "watched": watched,
            "fingerprint": take_fingerprint(watched, dev_root, proc_root),
            "inventory": inventory,
        }
        _store(path, json.dumps(document).encode())
    return inventory


def locate_cache(key: Sequence[object], environment: Mapping[str, str]) -> str:
    """Path of the cache file for these roots; empty when there is no home to keep it in."""
    home = environment.get("XDG_CACHE_HOME", "")
    if not home.startswith("/"):
        home = environment.get("HOME", "")
        if not home.startswith("/"):
            return ""
        home = f"{home}/.cache"
    return f"{home}/sampan/driver-{crc32(repr(key).encode()):08x}.json"


def _is_complete(inventory: Inventory, dev_root: str) -> bool:
    """Whether NVML has described every GPU that may be used; a lost GPU may come back unnoticed."""
    usable = sum(
        line.endswith("True") and line.split()[0].removeprefix("nvidia").isdecimal()
        for line in list_node_states(dev_root)
    )
    described = sum(bool(gpu.architecture) for gpu in inventory.gpus)
    return inventory.platform != "none" and usable == described == len(inventory.gpus)


def _load(path: str, key: list[object], dev_root: str, proc_root: str) -> Inventory | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & 0o022
            or status.st_size > MAXIMUM_BYTES
        ):
            return None
        content = os.read(descriptor, status.st_size)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    try:
        document: dict[str, Any] = json.loads(content)
        if document["format"] != FORMAT or document["key"] != key:
            return None
        now = take_fingerprint(document["watched"], dev_root, proc_root)
        return _decode(document["inventory"]) if document["fingerprint"] == now else None
    except (ValueError, KeyError, TypeError):
        return None


def _decode(values: list[Any]) -> Inventory:
    said = dict(zip(Inventory._fields, values, strict=True))
    for name in ("binaries", "configurations", "firmware", "sockets"):
        said[name] = tuple(DriverFile(*_tuples(row)) for row in said[name])
    said["libraries"] = tuple(DriverLibrary(*_tuples(row)) for row in said["libraries"])
    said["control_nodes"] = tuple(DeviceNode(*row) for row in said["control_nodes"])
    position = Gpu._fields.index("nodes")
    gpus = []
    for row in said["gpus"]:
        row[position] = tuple(DeviceNode(*node) for node in row[position])
        gpus.append(Gpu(*row))
    said["gpus"] = tuple(gpus)
    for name in ("warnings", "pci_devices", "searched"):
        said[name] = tuple(said[name])
    return Inventory(**said)


def _tuples(row: list[Any]) -> list[Any]:
    return [tuple(value) if isinstance(value, list) else value for value in row]


def _store(path: str, content: bytes) -> None:
    from pathlib import Path

    from sampan.kernel.atomic import write_atomic

    target = Path(path)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.parent.stat().st_uid == os.geteuid():
            write_atomic(target, content, 0o600)
    except OSError:
        # A cache that cannot be written costs time at the next start, nothing else.
        return
