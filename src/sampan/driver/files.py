"""Finds the driver's programs, ICD and profile files, firmware and sockets below a driver root."""

import os
import stat
from collections.abc import Sequence

from sampan.driver.bounded import list_names, read_regular
from sampan.driver.capabilities import BINARIES, CONFIGURATIONS, SOCKETS
from sampan.driver.places import (
    ETC_DIRECTORIES,
    FIRMWARE_DIRECTORIES,
    MPS_DIRECTORY,
    PROGRAM_DIRECTORIES,
    SHARE_DIRECTORIES,
    SOCKET_DIRECTORIES,
)
from sampan.driver.procfs import read_text
from sampan.driver.roots import Root
from sampan.model.inventory import DriverFile

MAXIMUM_DESCRIPTION_BYTES = 64 * 1024


def find_binaries(root: Root, homes: Sequence[str]) -> tuple[DriverFile, ...]:
    """The driver's programs, each the first of its name that is an ELF executable.

    A script of that name is a wrapper around the program (seen on an H200 host whose driver lies in
    ``/usr/local/nvidia``); in a container it would look for what is not there. NixOS keeps a copy
    with the usual program interpreter beside its own.
    """
    own = [place for home in homes for place in (f"{home}/bin", home)]
    places = (*own, *PROGRAM_DIRECTORIES)
    found = []
    for name, capabilities in BINARIES.items():
        for place in places:
            inner = root.resolve(f"{place}/{name}")
            original = root.resolve(f"{inner.rpartition('/')[0]}/../origBin/{name}")
            inner = original if _is_program(root.host_path(original)) else inner
            host_path = root.host_path(inner)
            if _is_program(host_path):
                found.append(
                    DriverFile(name, host_path, capabilities, root.host_path(place), "/usr/bin")
                )
                break
    return tuple(found)


def find_configurations(
    root: Root,
    version: str,
    homes: Sequence[str],
    library_directories: Sequence[str],
    search_paths: Sequence[str] = (),
) -> tuple[DriverFile, ...]:
    """ICD files and profiles; ``/etc`` counts before the share directories, as for the loaders.

    Args:
        root: the driver root.
        version: the driver's, part of the application profiles' names.
        homes: of ``places.list_homes``.
        library_directories: Debian keeps nvoptix.bin there.
        search_paths: further inner share directories, looked into last, e.g. those of XDG_DATA_DIRS.
    """
    places = [(place, "/etc") for place in ETC_DIRECTORIES]
    places += [(share, "/usr/share") for share in SHARE_DIRECTORIES]
    for home in homes:
        places += [(f"{home}/etc", "/etc"), (f"{home.removesuffix('/usr')}/etc", "/etc")]
        places += [(f"{home}/share", "/usr/share"), (home, "/usr/share")]
    places += [(path, "/usr/share") for path in search_paths]
    # Debian's own alternatives link it from there, when the server uses this driver.
    debian = [home.replace("/usr/lib", "/etc", 1) for home in homes] + ["/etc/nvidia"]
    found = []
    for pattern, capabilities in CONFIGURATIONS.items():
        name = pattern.replace("{version}", version)
        subdirectory, _, base = name.rpartition("/")
        candidates = [(f"{place}/{subdirectory}", f"{to}/{subdirectory}") for place, to in places]
        if base == "nvoptix.bin":
            candidates += [(directory, "/usr/share/nvidia") for directory in library_directories]
        if base.startswith("nvidia-application-profiles"):
            shares = [home.replace("/usr/lib", "/usr/share", 1) for home in homes]
            candidates += [(place, "/usr/share/nvidia") for place in shares]
        if base == "nvidia-drm-outputclass.conf":
            candidates += [(place, f"/usr/share/{subdirectory}") for place in debian]
        for place, directory in candidates:
            host_path = root.host_path(root.resolve(f"{place}/{base}"))
            if not is_filled(host_path):
                continue
            text = read_absolute_description(host_path)
            if text and base.endswith(".icd"):
                # One line, the library's name; the plan writes it for drivers that have none.
                break
            found.append(
                DriverFile(base, host_path, capabilities, root.host_path(place), directory, text)
            )
            break
    return tuple(found)


def read_absolute_description(host_path: str) -> str:
    """The text of an ICD file or JSON description that names a library by an absolute path.

    Empty for others, for what is larger than 64 KiB and for what no loader could read.
    """
    if not host_path.endswith((".json", ".icd")):
        return ""
    content = read_regular(host_path, MAXIMUM_DESCRIPTION_BYTES)
    if not content:
        return ""
    try:
        text = content.decode()
        if host_path.endswith(".icd"):
            return text if text.startswith("/") else ""
        import json

        return text if _names_absolute(json.loads(text)) else ""
    except (ValueError, RecursionError):
        return ""


def _names_absolute(document: object) -> bool:
    """Whether a GLVND, Vulkan or EGL platform description names its library by a path."""
    if not isinstance(document, dict):
        return False
    parts = [document.get("ICD"), document.get("layer")]
    layers = document.get("layers")
    parts += layers if isinstance(layers, list) else []
    return any(
        isinstance(part, dict) and str(part.get("library_path", "")).startswith("/")
        for part in parts
    )


def find_firmware(
    root: Root, version: str, homes: Sequence[str], sys_root: str, release: str
) -> tuple[DriverFile, ...]:
    """The GSP firmware of driver ``version``, which the module may ask the opening process for.

    Args:
        root: the driver root.
        version: the driver's.
        homes: of ``places.list_homes``.
        sys_root: the kernel's ``firmware_class`` parameter there names a directory that comes first.
        release: of the kernel, which looks below that name too.
    """
    chosen = read_text(f"{sys_root}/module/firmware_class/parameters/path").strip()
    places = [chosen] if chosen.startswith("/") else []
    for place in FIRMWARE_DIRECTORIES:
        places += [f"{place}/{release}", place]
    for home in homes:
        places += [f"{home}/firmware", f"{home}/lib/firmware"]
    for place in places:
        directory = root.resolve(f"{place}/nvidia/{version}")
        host_paths = [
            (name, root.host_path(root.resolve(f"{directory}/{name}")))
            for name in list_names(root.host_path(directory))
            if name.startswith("gsp") and name.endswith(".bin")
        ]
        found = tuple(
            DriverFile(
                name, host_path, (), root.host_path(directory), f"/lib/firmware/nvidia/{version}"
            )
            for name, host_path in host_paths
            if is_filled(host_path)
        )
        if found:
            return found
    return ()


def find_sockets(root: Root, mps_directory: str = "") -> tuple[DriverFile, ...]:
    """Sockets of the driver's daemons, and the directory of MPS's pipes.

    That directory counts only when it belongs to root or to the caller: below ``/tmp`` anybody may
    create the name first.

    Args:
        root: the driver root.
        mps_directory: where the pipes are, of CUDA_MPS_PIPE_DIRECTORY; empty = the usual place.
    """
    found = []
    for path, capabilities in SOCKETS.items():
        directory, _, name = path.rpartition("/")
        if path == MPS_DIRECTORY:
            places = [mps_directory if mps_directory.startswith("/") else path]
        else:
            inside = path.removeprefix("/run")
            places = [f"{place}{inside}" for place in SOCKET_DIRECTORIES]
        for place in places:
            host_path = root.host_path(root.resolve(place))
            if _is_endpoint(host_path, pipes=path == MPS_DIRECTORY):
                found.append(
                    DriverFile(name, host_path, capabilities, os.path.dirname(host_path), directory)
                )
                break
    return tuple(found)


def _is_endpoint(host_path: str, *, pipes: bool) -> bool:
    try:
        status = os.lstat(host_path)
    except OSError:
        return False
    if pipes:
        return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid())
    return stat.S_ISSOCK(status.st_mode)


def is_filled(host_path: str) -> bool:
    """Whether a resolved path is a regular file with something in it."""
    try:
        status = os.lstat(host_path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _is_program(host_path: str) -> bool:
    if not is_filled(host_path) or not os.access(host_path, os.X_OK):
        return False
    try:
        with open(host_path, "rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False
