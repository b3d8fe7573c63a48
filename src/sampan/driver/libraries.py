"""Finds the driver's shared libraries below a driver root and tells which are one driver's.

Searched are the caller's directories, those of every distribution known, and the directories that
the root's ``/etc/ld.so.cache`` names. ``LD_LIBRARY_PATH`` is not: in practice it leads to CUDA's
stub or forward-compatibility libcuda, which must not be taken for the driver's.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.bounded import list_matching, list_names, read_regular
from sampan.driver.capabilities import LIBRARIES, NEVER, OWN_VERSION, UNKNOWN_LIBRARY
from sampan.driver.elf import read_elf
from sampan.driver.places import COMPAT_MACHINE, known_directories
from sampan.driver.procfs import is_driver_version
from sampan.driver.roots import Root
from sampan.model.inventory import DriverLibrary
from sampan.model.ldcache import MAXIMUM_BYTES, LoaderCacheError, parse_loader_cache

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


class _Candidate(NamedTuple):
    real: str
    directory: str
    names: set[str]


def find_libraries(
    root: Root, *, machine: str, module_version: str, search_paths: Sequence[str] = ()
) -> LibrarySearch:
    """Find one driver's libraries: those of the loaded module's version when they are there.

    Libraries with a version of their own count where the driver has others beside them: a second
    installed driver's are not mixed in.

    Args:
        root: the driver root.
        machine: as ``uname -m`` says it.
        module_version: of the kernel module; empty = the first version found counts.
        search_paths: further inner directories, looked into first.
    """
    listings = _list_directories(root, machine, search_paths)
    directories = tuple(listings)
    version = _choose_version(listings, module_version)
    if not version:
        return LibrarySearch("", (), directories, ())
    found: dict[str, _Candidate] = {}
    for directory, names in listings.items():
        inhabited = any(name.endswith(f".so.{version}") for name in names)
        for name in names:
            stem = name.partition(".so")[0]
            if stem in NEVER or not (stem in LIBRARIES or name.endswith(f".so.{version}")):
                continue
            real = root.resolve(f"{directory}/{name}")
            base = os.path.basename(real)
            own = inhabited and stem in OWN_VERSION and not _is_of_a_driver(base)
            if base.partition(".so")[0] != stem or not (own or base.endswith(f".so.{version}")):
                continue
            found.setdefault(real, _Candidate(real, directory, set())).names.add(name)
    return _identify(root, machine, version, directories, list(found.values()))


def _list_directories(
    root: Root, machine: str, search_paths: Sequence[str]
) -> dict[str, list[str]]:
    listings: dict[str, list[str]] = {}
    for wanted in (*search_paths, *known_directories(machine), *_cache_directories(root)):
        parent, _, last = wanted.rpartition("/")
        for name in list_matching(root.host_path(root.resolve(parent)), last):
            directory = root.resolve(f"{parent}/{name}")
            if directory in listings or not os.path.isdir(root.host_path(directory)):
                continue
            names = list_names(root.host_path(directory))
            # Drivers up to 390 have two of it; the one for the C libraries of today is in tls.
            _list_below(root, f"{directory}/tls", "libnvidia-tls", names, listings)
            listings[directory] = [n for n in names if n.startswith("lib") and ".so" in n]
            _list_below(root, f"{directory}/vdpau", "libvdpau_nvidia", names, listings)
    return listings


def _list_below(
    root: Root, directory: str, start: str, names: list[str], listings: dict[str, list[str]]
) -> None:
    if directory.rpartition("/")[2] in names and directory not in listings:
        inside = list_names(root.host_path(root.resolve(directory)))
        listings[directory] = [name for name in inside if name.startswith(start)]


def _cache_directories(root: Root) -> list[str]:
    content = read_regular(root.host_path(root.resolve("/etc/ld.so.cache")), MAXIMUM_BYTES)
    try:
        entries = parse_loader_cache(content).entries if content else ()
    except LoaderCacheError:
        return []
    wanted: dict[str, None] = {}
    for entry in entries:
        if entry.name.startswith((b"libcuda.", b"libnvidia-", b"libGLX_nvidia")):
            directory = os.path.dirname(os.fsdecode(entry.path))
            if directory.startswith("/") and "*" not in directory:
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


def _is_of_a_driver(base: str) -> bool:
    return is_driver_version(base.partition(".so.")[2])


def _identify(
    root: Root,
    machine: str,
    version: str,
    directories: tuple[str, ...],
    candidates: list[_Candidate],
) -> LibrarySearch:
    libraries: dict[tuple[str, int], DriverLibrary] = {}
    warnings = []
    wanted = {(64, machine), (32, COMPAT_MACHINE.get(machine, ""))}
    for real, directory, names in sorted(candidates, key=lambda found: _rank(found, version)):
        host_path = root.host_path(real)
        elf = read_elf(host_path)
        if elf is None:
            warnings.append(f"{host_path} is left out: it is no ELF shared library")
            continue
        base = os.path.basename(real)
        if (elf.bits, elf.machine) not in wanted:
            continue
        soname = elf.soname or base
        if any(
            known.bits == elf.bits and (known.name == base or known.soname == soname)
            for known in libraries.values()
            if _stem(known.name) == _stem(base)
        ):
            continue
        libraries[base, elf.bits] = DriverLibrary(
            name=base,
            soname=soname,
            host_path=host_path,
            bits=elf.bits,
            machine=elf.machine,
            links=tuple(sorted(names - {base, soname})),
            capabilities=LIBRARIES.get(_stem(base), UNKNOWN_LIBRARY),
            found_by=root.host_path(directory),
        )
    ordered = tuple(libraries[key] for key in sorted(libraries))
    return LibrarySearch(version, ordered, directories, tuple(warnings))


def _rank(found: _Candidate, version: str) -> int:
    """The driver's own version first, then what links point to: the rest may be left-overs."""
    if found.real.endswith(f".so.{version}"):
        return 0
    return 1 if len(found.names) > 1 else 2


def _stem(name: str) -> str:
    return name.partition(".so")[0]
