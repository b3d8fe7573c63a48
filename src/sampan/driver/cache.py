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
from typing import TYPE_CHECKING, Any, get_args

from sampan.driver.fingerprint import list_node_states, take_fingerprint
from sampan.model.inventory import Inventory

if TYPE_CHECKING:
    from pathlib import Path

MAXIMUM_BYTES = 4 << 20
NVML_SONAME = "libnvidia-ml.so.1"


def _list_tuples(record: type[Any]) -> list[tuple[int, type[Any] | None]]:
    """Places of a record's fields that are tuples, with the record they hold, if it is one."""
    places = []
    for place, annotation in enumerate(record.__annotations__.values()):
        held = get_args(annotation)
        if held:
            places.append((place, held[0] if hasattr(held[0], "_fields") else None))
    return places


def _list_records(record: type[Any]) -> dict[type[Any], list[tuple[int, type[Any] | None]]]:
    places = _list_tuples(record)
    found = {record: places}
    for _, held in places:
        if held is not None and held not in found:
            found.update(_list_records(held))
    return found


_RECORDS = _list_records(Inventory)
FORMAT = [[record.__name__, *record._fields] for record in _RECORDS]
"""Written into each file: a record that has changed makes older files unreadable."""


def current_inventory(
    driver_root: str = "/",
    dev_root: str = "/",
    *,
    library_search_paths: Sequence[str] = (),
    config_search_paths: Sequence[str] = (),
    mps_directory: str = "",
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
        config_search_paths: share directories inside the driver root to look into last, before
            those of XDG_DATA_DIRS.
        mps_directory: where MPS has its pipes; empty = CUDA_MPS_PIPE_DIRECTORY or the usual place.
        proc_root: where procfs is.
        sys_root: where sysfs is.
        machine: ELF machine; empty = this host's.
        environment: where XDG_CACHE_HOME and the others are looked up; None = the process's.
    """
    machine = machine or os.uname().machine
    said = os.environ if environment is None else environment
    if driver_root == "/":
        config_search_paths = (*config_search_paths, *list_share_directories(said))
        mps_directory = mps_directory or said.get("CUDA_MPS_PIPE_DIRECTORY", "")
    key: list[object] = [
        driver_root,
        dev_root,
        list(library_search_paths),
        list(config_search_paths),
        mps_directory,
        proc_root,
        sys_root,
        machine,
    ]
    path = locate_cache(key, said)
    cached = _load(path, key, dev_root, proc_root) if path else None
    if cached is not None:
        return cached
    from sampan.driver.inventory import take_inventory
    from sampan.driver.watched import list_watched

    before = take_fingerprint((), dev_root, proc_root)
    inventory = take_inventory(
        driver_root,
        dev_root,
        library_search_paths=library_search_paths,
        config_search_paths=config_search_paths,
        mps_directory=mps_directory,
        proc_root=proc_root,
        sys_root=sys_root,
        machine=machine,
    )
    # NVML may load modules and make nodes when first used: what changed meanwhile is not kept.
    steady = before == take_fingerprint((), dev_root, proc_root)
    if path and steady and _is_complete(inventory, dev_root):
        watched = list_watched(inventory, machine, config_search_paths)
        document = {
            "format": FORMAT,
            "key": key,
            "watched": watched,
            "fingerprint": take_fingerprint(watched, dev_root, proc_root),
            "inventory": inventory,
        }
        _store(path, json.dumps(document).encode())
    return inventory


def list_share_directories(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The absolute directories of XDG_DATA_DIRS, at most 32; loaders read descriptions there, too."""
    words = environment.get("XDG_DATA_DIRS", "").split(":")
    usual = ("/usr/local/share", "/usr/share")
    wanted = [word.rstrip("/") for word in words if word.startswith("/")]
    return tuple(dict.fromkeys(word for word in wanted if word and word not in usual))[:32]


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
    if inventory.platform == "none":
        return False
    described = sum(bool(gpu.architecture) for gpu in inventory.gpus)
    if inventory.platform == "discrete":
        expected = sum(
            line.endswith("True") and line.split()[0].removeprefix("nvidia").isdecimal()
            for line in list_node_states(dev_root)
        )
        return expected == described == len(inventory.gpus)
    # A Jetson's own driver has an NVML since release 36 only.
    has_nvml = any(library.soname == NVML_SONAME for library in inventory.libraries)
    return described == len(inventory.gpus) or not has_nvml


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
        inventory: Inventory | None = None
        if document["fingerprint"] == now:
            inventory = _decode(document["inventory"])
        return inventory
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _decode(row: list[Any], record: type[Any] = Inventory) -> Any:
    """A record from the lists that JSON made of it: lists are tuples, of records or of texts."""
    for place, held in _RECORDS[record]:
        values = row[place]
        row[place] = tuple(values) if held is None else tuple([_decode(v, held) for v in values])
    return record(*row)


def _store(path: str, content: bytes) -> None:
    from pathlib import Path

    from sampan.kernel.atomic import write_atomic

    target = Path(path)
    try:
        # With another user's HOME (sudo can keep it) nothing is made where his links lead.
        friends = (0, os.geteuid())
        if not all(_owner(parent) in friends for parent in target.parents):
            return
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.parent.stat().st_uid == os.geteuid():
            write_atomic(target, content, 0o600)
    except OSError:
        # A cache that cannot be written costs time at the next start, nothing else.
        return


def _owner(path: "Path") -> int:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return os.geteuid()
