"""All files of the driver on this host, by the platform's own rules: what an inventory knows of files."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.files import find_binaries, find_configurations, find_firmware, find_sockets
from sampan.driver.libraries import find_libraries
from sampan.driver.places import list_homes
from sampan.driver.roots import Root
from sampan.driver.tegra import find_tegra_files
from sampan.driver.wsl import find_wsl_files
from sampan.driver.xorg import find_modules
from sampan.model.inventory import DriverFile, DriverLibrary, DriverLink


class DriverFiles(NamedTuple):
    """The driver's files; the names are the inventory's.

    Attributes:
        version: the driver's, by file names; empty when they do not say it (WSL).
        searched: inner directories that were looked into.
        device_paths: device nodes that belong to the files (Tegra's lists).
        jetpack_files: what Tegra's further lists name, and ``jetpack_device_paths`` their nodes.
    """

    version: str = ""
    libraries: tuple[DriverLibrary, ...] = ()
    binaries: tuple[DriverFile, ...] = ()
    configurations: tuple[DriverFile, ...] = ()
    firmware: tuple[DriverFile, ...] = ()
    sockets: tuple[DriverFile, ...] = ()
    modules: tuple[DriverFile, ...] = ()
    links: tuple[DriverLink, ...] = ()
    searched: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    device_paths: tuple[str, ...] = ()
    jetpack_files: tuple[DriverFile, ...] = ()
    jetpack_device_paths: tuple[str, ...] = ()


def find_driver_files(
    root: Root,
    platform: str,
    *,
    machine: str,
    module_version: str,
    library_search_paths: Sequence[str] = (),
    config_search_paths: Sequence[str] = (),
    mps_directory: str = "",
    csv_lists: Sequence[str] = (),
    proc_root: str = "/proc",
    sys_root: str = "/sys",
) -> DriverFiles:
    """Look for the driver's files below ``root``.

    Args:
        root: the driver root.
        platform: of ``platforms.detect_platform``.
        machine: ELF machine of the libraries.
        module_version: of the loaded kernel module; empty when none is.
        library_search_paths: inner library directories to look into first.
        config_search_paths: inner share directories to look into last.
        mps_directory: of CUDA_MPS_PIPE_DIRECTORY; empty = the usual place.
        csv_lists: on Tegra, host paths of the lists to read; empty = the usual ones.
        proc_root: where procfs is.
        sys_root: where sysfs is.
    """
    if platform == "wsl":
        return _find_wsl(root, machine, proc_root)
    if platform == "tegra":
        return _find_tegra(root, machine, mps_directory, csv_lists)
    search = find_libraries(
        root, machine=machine, module_version=module_version, search_paths=library_search_paths
    )
    version = search.version
    if not version:
        return DriverFiles(searched=search.directories, warnings=search.warnings)
    inhabited = _list_inhabited(root, search.libraries)
    binaries = find_binaries(root, list_homes(inhabited))
    homes = list_homes(inhabited, [root.inner_path(found.host_path) for found in binaries])
    return DriverFiles(
        version=version,
        libraries=search.libraries,
        binaries=binaries,
        configurations=find_configurations(root, version, homes, inhabited, config_search_paths),
        firmware=find_firmware(root, version, homes, sys_root, os.uname().release),
        sockets=find_sockets(root, mps_directory),
        modules=find_modules(root, version, machine, homes),
        searched=search.directories,
        warnings=search.warnings,
    )


def _find_wsl(root: Root, machine: str, proc_root: str) -> DriverFiles:
    found = find_wsl_files(root, machine, proc_root)
    return DriverFiles(
        libraries=found.libraries,
        binaries=found.binaries,
        configurations=found.configurations,
        links=found.links,
        searched=found.searched,
        warnings=found.warnings,
    )


def _find_tegra(
    root: Root, machine: str, mps_directory: str, csv_lists: Sequence[str]
) -> DriverFiles:
    found = find_tegra_files(root, machine, csv_lists)
    return DriverFiles(
        version=found.version,
        libraries=found.libraries,
        configurations=found.files,
        sockets=find_sockets(root, mps_directory),
        links=found.links,
        searched=found.searched,
        warnings=found.warnings,
        device_paths=found.device_paths,
        jetpack_files=found.jetpack_files,
        jetpack_device_paths=found.jetpack_device_paths,
    )


def _list_inhabited(root: Root, libraries: Sequence[DriverLibrary]) -> tuple[str, ...]:
    """Inner directories that hold the driver's libraries or links to them."""
    found: dict[str, None] = {}
    for library in libraries:
        for place in (library.found_by, os.path.dirname(library.host_path)):
            found[root.inner_path(place)] = None
    return tuple(found)
