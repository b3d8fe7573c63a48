"""Finds the driver's shared libraries below a driver root and tells which are one driver's.

Searched are the caller's directories, those of every distribution known, and the directories that
the root's ``/etc/ld.so.cache`` names. ``LD_LIBRARY_PATH`` is not: in practice it leads to CUDA's
stub or forward-compatibility libcuda, which must not be taken for the driver's.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.capabilities import LIBRARIES, NEVER, OWN_VERSION, UNKNOWN_LIBRARY
from sampan.driver.elf import read_elf
from sampan.driver.procfs import is_driver_version
from sampan.driver.roots import Root
from sampan.model.inventory import DriverLibrary
from sampan.model.ldcache import MAXIMUM_BYTES, LoaderCacheError, parse_loader_cache

MULTIARCH: dict[str, str] = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
COMPAT_MACHINE: dict[str, str] = {"x86_64": "i386"}
LEADERS = ("libcuda", "libnvidia-ml")
"""The libraries whose file names say the driver's version."""


class LibrarySearch(NamedTuple):
    """What a search found.

    Attributes:
        version: the driver's, by file name; empty when no driver library was found.
        directories: inner paths of all directories that were looked into and exist.
        warnings: what was left out, and why.
    """

    version: str
    libraries: tuple[DriverLibrary, ...]
    directories: tuple[str, ...]
    warnings: tuple[str, ...]


def known_directories(machine: str) -> tuple[str, ...]:
    """Where distributions put driver libraries of ``machine``, in the order of search."""
    arch = MULTIARCH.get(machine, f"{machine}-linux-gnu")
    native = (
        "/usr/lib64", f"/usr/lib/{arch}", f"/usr/lib/{arch}/nvidia/current",
        "/lib64", f"/lib/{arch}", f"/lib/{arch}/nvidia/current",
        "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",
        "/usr/lib64/nvidia", "/usr/lib/nvidia", "/usr/lib", "/lib",
        "/run/opengl-driver/lib",
    )  # fmt: skip
    if machine not in COMPAT_MACHINE:
        return native
    return (*native, "/usr/lib/i386-linux-gnu", "/usr/lib/i386-linux-gnu/nvidia/current",
            "/usr/lib32", "/lib32")  # fmt: skip


def find_libraries(
    root: Root, *, machine: str, module_version: str, search_paths: Sequence[str] = ()
) -> LibrarySearch:
    """Find one driver's libraries: those of the loaded module's version when they are there.

    Args:
        root: the driver root.
        machine: as ``uname -m`` says it.
        module_version: of the kernel module; empty = the first version found counts.
        search_paths: further inner directories, looked into first.
    """
    directories, listings = _list_directories(root, machine, search_paths)
    version = _choose_version(listings, module_version)
    if not version:
        return LibrarySearch("", (), directories, ())
    found: dict[str, tuple[str, set[str]]] = {}
    for directory, names in listings.items():
        for name in names:
            stem = name.partition(".so")[0]
            if stem in NEVER or not _may_be_driver(name, stem, version):
                continue
            real = root.resolve(f"{directory}/{name}")
            base = os.path.basename(real)
            if base.partition(".so")[0] != stem or not _is_driver_file(base, stem, version):
                continue
            found.setdefault(real, (directory, set()))[1].add(name)
    return _identify(root, machine, version, directories, found)


def _list_directories(
    root: Root, machine: str, search_paths: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    listings: dict[str, list[str]] = {}
    for wanted in (*search_paths, *known_directories(machine), *_cache_directories(root)):
        directory = root.resolve(wanted)
        if directory in listings:
            continue
        try:
            names = os.listdir(root.host_path(directory))
        except OSError:
            continue
        listings[directory] = sorted(n for n in names if n.startswith("lib") and ".so" in n)
        vdpau = f"{directory}/vdpau"
        if "vdpau" in names and vdpau not in listings:
            try:
                listings[vdpau] = sorted(
                    n for n in os.listdir(root.host_path(vdpau)) if n.startswith("libvdpau_nvidia")
                )
            except OSError:
                continue
    return tuple(listings), listings


def _cache_directories(root: Root) -> list[str]:
    path = root.host_path(root.resolve("/etc/ld.so.cache"))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        with open(descriptor, "rb") as stream:
            content = stream.read(MAXIMUM_BYTES)
        entries = parse_loader_cache(content).entries
    except (OSError, LoaderCacheError):
        return []
    wanted: dict[str, None] = {}
    for entry in entries:
        if entry.name.startswith((b"libcuda.", b"libnvidia-", b"libGLX_nvidia")):
            directory = os.path.dirname(os.fsdecode(entry.path))
            if directory.startswith("/"):
                wanted[directory] = None
    return list(wanted)


def _choose_version(listings: dict[str, list[str]], module_version: str) -> str:
    versions: dict[str, None] = {}
    for leader in LEADERS:
        for names in listings.values():
            for name in names:
                stem, _, suffix = name.partition(".so.")
                if stem == leader and is_driver_version(suffix):
                    versions[suffix] = None
    return module_version if module_version in versions else next(iter(versions), "")


def _may_be_driver(name: str, stem: str, version: str) -> bool:
    return stem in LIBRARIES or name.endswith(f".so.{version}")


def _is_driver_file(name: str, stem: str, version: str) -> bool:
    return name.endswith(f".so.{version}") or stem in OWN_VERSION


def _identify(
    root: Root,
    machine: str,
    version: str,
    directories: tuple[str, ...],
    found: dict[str, tuple[str, set[str]]],
) -> LibrarySearch:
    libraries: dict[tuple[str, int], DriverLibrary] = {}
    warnings = []
    wanted = {(64, machine), (32, COMPAT_MACHINE.get(machine, ""))}
    for real, (directory, names) in found.items():
        host_path = root.host_path(real)
        elf = read_elf(host_path)
        if elf is None:
            warnings.append(f"{host_path} is left out: it is no ELF shared library")
            continue
        base = os.path.basename(real)
        if (elf.bits, elf.machine) not in wanted or (base, elf.bits) in libraries:
            continue
        soname = elf.soname or base
        libraries[base, elf.bits] = DriverLibrary(
            name=base,
            soname=soname,
            host_path=host_path,
            bits=elf.bits,
            machine=elf.machine,
            links=tuple(sorted(names - {base, soname})),
            capabilities=LIBRARIES.get(base.partition(".so")[0], UNKNOWN_LIBRARY),
            found_by=root.host_path(directory),
        )
    ordered = tuple(libraries[key] for key in sorted(libraries))
    return LibrarySearch(version, ordered, directories, tuple(warnings))
