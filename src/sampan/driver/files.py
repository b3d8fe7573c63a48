"""Finds the driver's programs, ICD and profile files, firmware and sockets below a driver root."""

import os
import stat
from collections.abc import Sequence

from sampan.driver.capabilities import BINARIES, CONFIGURATIONS, SOCKETS
from sampan.driver.procfs import read_text
from sampan.driver.roots import Root
from sampan.model.inventory import DriverFile

PROGRAM_DIRECTORIES: tuple[str, ...] = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
    "/usr/lib/nvidia/current", "/run/nvidia/bin",
)  # fmt: skip
SHARE_DIRECTORIES: tuple[str, ...] = ("/usr/local/share", "/usr/share")
FIRMWARE_DIRECTORIES: tuple[str, ...] = (
    "/lib/firmware/updates", "/lib/firmware", "/usr/lib/firmware/updates", "/usr/lib/firmware",
)  # fmt: skip


def list_prefixes(library_directories: Sequence[str]) -> tuple[str, ...]:
    """Installation prefixes beside the library directories, e.g. ``/usr/local/nvidia``.

    A driver that was not unpacked over ``/usr`` keeps ``bin``, ``share`` and ``firmware`` there.
    """
    prefixes: dict[str, None] = {}
    for directory in library_directories:
        head, _, tail = directory.rpartition("/")
        if tail in ("lib", "lib64") and head not in ("/usr", "/usr/lib"):
            prefixes[head] = None
    return tuple(prefixes)


def find_binaries(root: Root, prefixes: Sequence[str]) -> tuple[DriverFile, ...]:
    """The driver's programs, each the first of its name that is an ELF executable.

    A script of that name is a wrapper around the program (seen on an H200 host whose driver lies in
    ``/usr/local/nvidia``); in a container it would look for what is not there.
    """
    places = (*PROGRAM_DIRECTORIES, *(f"{prefix}/bin" for prefix in prefixes))
    found = []
    for name, capabilities in BINARIES.items():
        for place in places:
            host_path = root.host_path(root.resolve(f"{place}/{name}"))
            if _is_program(host_path):
                found.append(
                    DriverFile(name, host_path, capabilities, root.host_path(place), "/usr/bin")
                )
                break
    return tuple(found)


def find_configurations(
    root: Root, prefixes: Sequence[str], library_directories: Sequence[str]
) -> tuple[DriverFile, ...]:
    """ICD files and profiles; ``/etc`` counts before the share directories, as for the loaders."""
    shares = (*SHARE_DIRECTORIES, *(f"{prefix}/share" for prefix in prefixes))
    places = [("/etc", "/etc"), *((share, "/usr/share") for share in shares)]
    found = []
    for name, capabilities in CONFIGURATIONS.items():
        subdirectory, _, base = name.rpartition("/")
        candidates = [(f"{place}/{subdirectory}", f"{to}/{subdirectory}") for place, to in places]
        if base == "nvoptix.bin":
            # Debian keeps it beside the libraries.
            candidates += [(directory, "/usr/share/nvidia") for directory in library_directories]
        for place, directory in candidates:
            host_path = root.host_path(root.resolve(f"{place}/{base}"))
            if _is_regular(host_path):
                found.append(
                    DriverFile(base, host_path, capabilities, root.host_path(place), directory)
                )
                break
    return tuple(found)


def find_firmware(
    root: Root, prefixes: Sequence[str], version: str, sys_root: str
) -> tuple[DriverFile, ...]:
    """The GSP firmware of driver ``version``, which the module may ask the opening process for."""
    chosen = read_text(f"{sys_root}/module/firmware_class/parameters/path").strip()
    places = [chosen] if chosen.startswith("/") else []
    places += [*FIRMWARE_DIRECTORIES, *(f"{prefix}/firmware" for prefix in prefixes)]
    for place in places:
        directory = root.resolve(f"{place}/nvidia/{version}")
        try:
            names = sorted(os.listdir(root.host_path(directory)))
        except OSError:
            continue
        found = tuple(
            DriverFile(
                name,
                root.host_path(root.resolve(f"{directory}/{name}")),
                (),
                root.host_path(directory),
                f"/lib/firmware/nvidia/{version}",
            )
            for name in names
            if name.startswith("gsp") and name.endswith(".bin")
        )
        if found:
            return found
    return ()


def find_sockets(root: Root) -> tuple[DriverFile, ...]:
    """Sockets of the driver's daemons.

    Those below ``/tmp`` count only when they belong to root or to the caller: anybody may create
    that name first.
    """
    found = []
    for path, capabilities in SOCKETS.items():
        directory, _, name = path.rpartition("/")
        host_path = root.host_path(root.resolve(path))
        try:
            status = os.lstat(host_path)
        except OSError:
            continue
        if path.startswith("/tmp/"):
            usable = stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid())
        else:
            usable = stat.S_ISSOCK(status.st_mode)
        if usable:
            found.append(
                DriverFile(name, host_path, capabilities, root.host_path(directory), directory)
            )
    return tuple(found)


def _is_regular(host_path: str) -> bool:
    try:
        status = os.lstat(host_path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _is_program(host_path: str) -> bool:
    if not _is_regular(host_path) or not os.access(host_path, os.X_OK):
        return False
    try:
        with open(host_path, "rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False
