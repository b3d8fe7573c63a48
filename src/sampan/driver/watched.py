"""Which paths an inventory depends on: what was found, and where other things may appear."""

import os
from collections.abc import Iterator, Sequence

from sampan.driver.capabilities import CONFIGURATIONS, SOCKETS
from sampan.driver.extras import GDS_FILES
from sampan.driver.places import (
    ETC_DIRECTORIES,
    FIRMWARE_DIRECTORIES,
    PROGRAM_DIRECTORIES,
    SHARE_DIRECTORIES,
    SOCKET_DIRECTORIES,
    known_directories,
    module_directories,
)
from sampan.driver.platforms import TEGRA_RELEASE
from sampan.driver.roots import Root
from sampan.driver.tegra import LIST_DIRECTORY
from sampan.driver.wsl import LIBRARY_DIRECTORY, STORE_DIRECTORY
from sampan.model.inventory import DriverFile, DriverLibrary, Inventory


def list_watched(
    inventory: Inventory, machine: str, config_search_paths: Sequence[str] = ()
) -> tuple[str, ...]:
    """Host paths whose change may change the inventory; ``fingerprint.take_fingerprint`` stats them.

    Args:
        inventory: what was found.
        machine: ELF machine.
        config_search_paths: share directories that were looked into besides the usual ones.
    """
    root = Root(inventory.driver_root)
    shares = (*ETC_DIRECTORIES, *SHARE_DIRECTORIES, *config_search_paths)
    places = (*_list_places(machine), *_list_shares(shares))
    watched = dict.fromkeys(root.host_path(root.resolve(path)) for path in places)
    for item in _list_found(inventory):
        paths = (item.host_path, os.path.dirname(item.host_path), item.found_by)
        watched.update(dict.fromkeys(paths))
    watched.update(dict.fromkeys(inventory.searched))
    return tuple(watched)


def _list_places(machine: str) -> Iterator[str]:
    """Inner paths in which a part of a driver may appear on some distribution."""
    yield from ("/etc/ld.so.cache", "/etc/alternatives", TEGRA_RELEASE, LIST_DIRECTORY)
    yield from (LIBRARY_DIRECTORY, STORE_DIRECTORY)
    yield from GDS_FILES
    # A star stands for directories whose parent is here too.
    yield from (path for path in known_directories(machine) if "*" not in path)
    yield from PROGRAM_DIRECTORIES
    yield from FIRMWARE_DIRECTORIES
    yield from module_directories(machine, ())
    for path in SOCKETS:
        yield from (
            (path,) if path.startswith("/") else (f"{at}/{path}" for at in SOCKET_DIRECTORIES)
        )


def _list_shares(directories: Sequence[str]) -> Iterator[str]:
    for share in directories:
        yield from (f"{share}/{name.rpartition('/')[0]}" for name in CONFIGURATIONS)


def _list_found(inventory: Inventory) -> Iterator[DriverFile | DriverLibrary]:
    yield from inventory.libraries
    yield from inventory.binaries
    yield from inventory.configurations
    yield from inventory.firmware
    yield from inventory.sockets
    yield from inventory.modules
    for extra in inventory.extras:
        yield from extra.files
