"""The files of Windows' driver as WSL shows them: the driver store and ``/usr/lib/wsl/lib``.

Windows' ``System32/DriverStore/FileRepository`` is mounted (9p or virtiofs, source ``drivers``) at
``/usr/lib/wsl/drivers``; each package of it is a directory ``<name>.inf_amd64_<hash>``, NVIDIA's
begins with ``nv``. ``/usr/lib/wsl/lib`` holds loaders, which ask ``libdxcore.so`` for the store of
the adapter and open the real library there by its full path. So everything goes in where it lies on
the host (field note nvidia-container-toolkit, section 4.2).
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.bounded import list_names
from sampan.driver.capabilities import BOTH, COMPUTE, EVERY, GRAPHICS, LIBRARIES, UTILITY
from sampan.driver.elf import ElfIdentity, read_elf
from sampan.driver.procfs import read_text
from sampan.driver.roots import Root
from sampan.model.inventory import DriverFile, DriverLibrary, DriverLink

LIBRARY_DIRECTORY = "/usr/lib/wsl/lib"
STORE_DIRECTORY = "/usr/lib/wsl/drivers"
STORE_PREFIX = "nv"
STORE_MARKS: tuple[str, ...] = ("libcuda.so.1.1", "libcuda_loader.so", "libnvidia-ml.so.1")
"""A package of the store that holds one of them is a display driver of NVIDIA's."""
LOADERS: dict[str, str] = {
    "libcuda.so.1": "libcuda_loader.so",
    "libnvidia-ml.so.1": "libnvidia-ml_loader.so",
}
"""Names in the library directory, and what they are copies of in the store."""
STEMS: dict[str, tuple[str, ...]] = {
    "libcuda_loader": COMPUTE,
    "libd3d12": GRAPHICS,
    "libd3d12core": GRAPHICS,
    "libdxcore": EVERY,
    "libnvdxdlkernels": GRAPHICS,
    "libnvdxgdmal": COMPUTE,
    "libnvidia-ml_loader": UTILITY,
    "libnvoptix_loader": GRAPHICS,
    "libnvwgf2umx": GRAPHICS,
    "nvcubins": COMPUTE,
}
"""What only WSL has: name before ``.so`` or ``.bin`` to capabilities."""
PROGRAM = "nvidia-smi"


class WslFiles(NamedTuple):
    """What WSL has of NVIDIA's driver; inner paths in ``searched``."""

    libraries: tuple[DriverLibrary, ...]
    binaries: tuple[DriverFile, ...]
    configurations: tuple[DriverFile, ...]
    links: tuple[DriverLink, ...]
    searched: tuple[str, ...]
    warnings: tuple[str, ...]


def find_wsl_files(root: Root, machine: str, proc_root: str) -> WslFiles:
    """The loaders of ``/usr/lib/wsl/lib`` as libraries, the driver store's parts as files.

    Args:
        root: the driver root.
        machine: ELF machine of the libraries.
        proc_root: where procfs is; its mounts name a store that is mounted elsewhere.
    """
    store, warnings = _choose_store(root, proc_root)
    libraries = _find_loaders(root, machine, LIBRARY_DIRECTORY, None)
    if store and not any(library.soname == "libcuda.so.1" for library in libraries):
        libraries += _find_loaders(root, machine, store, tuple(LOADERS.values()))
    taken = {library.host_path for library in libraries}
    files = []
    binaries: tuple[DriverFile, ...] = ()
    links: tuple[DriverLink, ...] = ()
    if store:
        place = root.host_path(store)
        for name in list_names(place):
            host_path = f"{place}/{name}"
            if host_path not in taken and _is_part(host_path, name, machine):
                files.append(DriverFile(name, host_path, _capabilities(name), place, store))
        if os.access(f"{place}/{PROGRAM}", os.X_OK):
            binaries = (DriverFile(PROGRAM, f"{place}/{PROGRAM}", UTILITY, place, store),)
            links = (DriverLink(f"/usr/bin/{PROGRAM}", f"{store}/{PROGRAM}"),)
    searched = tuple(place for place in (LIBRARY_DIRECTORY, store) if place)
    return WslFiles(libraries, binaries, tuple(files), links, searched, tuple(warnings))


def _choose_store(root: Root, proc_root: str) -> tuple[str, list[str]]:
    """The package of the store that is in use, and warnings about others."""
    stores = []
    for parent in dict.fromkeys((STORE_DIRECTORY, *_list_store_mounts(proc_root))):
        for name in list_names(root.host_path(parent)):
            store = f"{parent}/{name}"
            if name.startswith(STORE_PREFIX) and any(
                os.path.isfile(root.host_path(f"{store}/{mark}")) for mark in STORE_MARKS
            ):
                stores.append(store)
    if not stores:
        return "", [f"no driver of NVIDIA's in Windows' driver store {STORE_DIRECTORY}"]
    stores.sort(key=lambda store: _newest(root.host_path(store)))
    matching = [store for store in stores if _has_loaders(root, store)]
    chosen = (matching or stores)[-1]
    others = [store for store in stores if store != chosen]
    if not others:
        return chosen, []
    return chosen, [
        f"Windows' driver store has more than one driver; {chosen} is used, not {', '.join(others)}"
    ]


def _list_store_mounts(proc_root: str) -> list[str]:
    """Where the store is mounted, should somebody have moved it."""
    found = []
    for line in read_text(f"{proc_root}/mounts").splitlines():
        words = line.split(" ")
        if len(words) > 2 and words[0] == "drivers" and words[2] in ("9p", "virtiofs"):
            path = words[1].replace("\\040", " ").rstrip("/")
            if path.startswith("/") and "/../" not in f"{path}/":
                found.append(path)
    return found


def _newest(host_path: str) -> tuple[int, str]:
    times = []
    for mark in STORE_MARKS:
        try:
            times.append(os.stat(f"{host_path}/{mark}").st_mtime_ns)
        except OSError:
            continue
    return max(times, default=0), host_path


def _has_loaders(root: Root, store: str) -> bool:
    """Whether a store's loaders are those of the library directory, by their sizes."""
    equal = [
        _size(root.host_path(f"{LIBRARY_DIRECTORY}/{name}"))
        == _size(root.host_path(f"{store}/{loader}"))
        for name, loader in LOADERS.items()
    ]
    return all(equal)


def _size(host_path: str) -> int:
    try:
        return os.stat(host_path).st_size
    except OSError:
        return -1


def _find_loaders(
    root: Root, machine: str, directory: str, only: Sequence[str] | None
) -> tuple[DriverLibrary, ...]:
    """Libraries of a directory, one for each SONAME: the file of that name, the others are links."""
    place = root.host_path(directory)
    by_soname: dict[str, dict[str, str]] = {}
    for name in list_names(place):
        if ".so" not in name or (only is not None and name not in only):
            continue
        host_path = root.host_path(root.resolve(f"{directory}/{name}"))
        elf = _read_library(host_path, machine)
        if elf is not None:
            by_soname.setdefault(elf.soname or name, {})[name] = host_path
    libraries = []
    for soname, files in sorted(by_soname.items()):
        name = soname if soname in files else max(files)
        libraries.append(
            DriverLibrary(
                name=name,
                soname=soname,
                host_path=files[name],
                bits=64,
                machine=machine,
                links=tuple(sorted(set(files) - {name, soname})),
                capabilities=_capabilities(name),
                found_by=place,
                directory=directory,
            )
        )
    return tuple(libraries)


def _is_part(host_path: str, name: str, machine: str) -> bool:
    if name.endswith(".bin"):
        return os.path.isfile(host_path)
    return ".so" in name and _read_library(host_path, machine) is not None


def _read_library(host_path: str, machine: str) -> ElfIdentity | None:
    elf = read_elf(host_path)
    return elf if elf is not None and (elf.bits, elf.machine) == (64, machine) else None


def _capabilities(name: str) -> tuple[str, ...]:
    stem = name.partition(".so")[0].partition(".bin")[0]
    return STEMS.get(stem) or LIBRARIES.get(stem, BOTH)
