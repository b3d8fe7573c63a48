"""The files that a Jetson's CSV lists name (field note nvidia-container-toolkit, section 4.2).

``/etc/nvidia-container-runtime/host-files-for-container.d/*.csv`` holds lines ``type, path`` with the
types ``dev`` (device node), ``dir`` (directory), ``lib`` (library or other file) and ``sym`` (symbolic
link); paths may hold shell patterns. Everything goes in under the path that the list says. Lists
other than devices, drivers and l4t count only with NVIDIA_REQUIRE_JETPACK=csv-mounts=all.
"""

import os
import stat
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from sampan.driver.bounded import list_names, read_regular
from sampan.driver.capabilities import EVERY, LIBRARIES
from sampan.driver.elf import read_elf
from sampan.driver.procfs import is_driver_version
from sampan.driver.roots import Root
from sampan.model.inventory import DriverFile, DriverLibrary, DriverLink

LIST_DIRECTORY = "/etc/nvidia-container-runtime/host-files-for-container.d"
BASE_LISTS: tuple[str, ...] = ("devices.csv", "drivers.csv", "l4t.csv")
TYPES: tuple[str, ...] = ("dev", "dir", "lib", "sym")
MAXIMUM_LISTS = 64
MAXIMUM_LIST_BYTES = 1 << 20
MAXIMUM_LINES = 20_000
MAXIMUM_PATH = 4096
MAXIMUM_MATCHES = 4096
NAMED_IN_WARNINGS = 5
KERNEL_TREES = ("dev", "proc", "sys")


class CsvEntry(NamedTuple):
    """One line: ``kind`` of TYPES and an absolute path, which may hold ``*``, ``?`` and ``[``."""

    kind: str
    path: str


class TegraFiles(NamedTuple):
    """What the lists name and the host has; ``jetpack_`` is of the lists beyond the base ones."""

    version: str = ""
    libraries: tuple[DriverLibrary, ...] = ()
    files: tuple[DriverFile, ...] = ()
    links: tuple[DriverLink, ...] = ()
    device_paths: tuple[str, ...] = ()
    jetpack_files: tuple[DriverFile, ...] = ()
    jetpack_device_paths: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class CsvLineError(ValueError):
    """A line that is refused, and why."""


def parse_csv_line(line: str) -> CsvEntry | None:
    """One line; None for an empty one and a comment.

    Raises:
        CsvLineError: it has another form, an unknown type, or a path that is not plainly absolute.
    """
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    kind, comma, path = text.partition(",")
    kind, path = kind.strip(), path.strip()
    if not comma:
        raise CsvLineError("it is not of the form: type, path")
    if kind not in TYPES:
        raise CsvLineError(f"the type is none of {', '.join(TYPES)}")
    if len(path) > MAXIMUM_PATH or not path.isprintable():
        raise CsvLineError("the path is too long or holds control characters")
    parts = path.split("/")
    if not path.startswith("/") or ".." in parts or "." in parts or not path.strip("/"):
        raise CsvLineError("the path is not an absolute one without . and ..")
    if kind == "dir" and parts[1] == "dev":
        # Jetson's own list has /dev/dri/by-path; what matters of it are nodes.
        return CsvEntry("dev", f"{path.rstrip('/')}/*")
    if kind != "dev" and parts[1] in KERNEL_TREES:
        raise CsvLineError("the kernel's own trees are not imported")
    return CsvEntry(kind, path.rstrip("/"))


def find_tegra_files(root: Root, machine: str, lists: Sequence[str] = ()) -> TegraFiles:
    """Everything that the lists below ``root`` name.

    Args:
        root: the driver root.
        machine: ELF machine of the libraries.
        lists: host paths of lists to read instead, all of them as base ones.
    """
    collector = _Collector(root, machine)
    if lists:
        for path in lists[:MAXIMUM_LISTS]:
            collector.read_list(path, base=True)
        return collector.finish()
    place = root.host_path(root.resolve(LIST_DIRECTORY))
    names = [name for name in list_names(place) if name.endswith(".csv")][:MAXIMUM_LISTS]
    for name in sorted(names, key=lambda name: (name not in BASE_LISTS, name)):
        collector.read_list(f"{place}/{name}", base=name in BASE_LISTS)
    return collector.finish()


class _Collector:
    def __init__(self, root: Root, machine: str) -> None:
        self._root = root
        self._machine = machine
        self._seen: set[tuple[bool, str]] = set()
        self._libraries: dict[str, DriverLibrary] = {}
        self._files: dict[bool, list[DriverFile]] = {True: [], False: []}
        self._devices: dict[bool, list[str]] = {True: [], False: []}
        self._links: list[DriverLink] = []
        self._warnings: list[str] = []

    def read_list(self, host_path: str, *, base: bool) -> None:
        content = read_regular(host_path, MAXIMUM_LIST_BYTES)
        if content is None:
            self._warnings.append(
                f"{host_path} is left out: it is no regular file of at most"
                f" {MAXIMUM_LIST_BYTES >> 20} MiB"
            )
            return
        refused: list[str] = []
        missing: list[str] = []
        lines = content.decode(errors="replace").splitlines()
        for number, line in enumerate(lines[:MAXIMUM_LINES], 1):
            try:
                entry = parse_csv_line(line)
            except CsvLineError as error:
                refused.append(f"line {number}: {error}")
                continue
            if entry is not None and not self._add(entry, base=base):
                missing.append(entry.path)
        if len(lines) > MAXIMUM_LINES:
            refused.append(f"line {MAXIMUM_LINES + 1} and all after it: the list is too long")
        self._warn(host_path, "refused lines", refused)
        self._warn(host_path, "not on this host", missing)

    def finish(self) -> TegraFiles:
        libraries = tuple(self._libraries[path] for path in sorted(self._libraries))
        version = next(
            (
                suffix
                for library in libraries
                if is_driver_version(suffix := library.name.partition(".so.")[2])
                and library.name.partition(".so")[0] in LIBRARIES
            ),
            "",
        )
        return TegraFiles(
            version=version,
            libraries=libraries,
            files=tuple(self._files[True]),
            links=tuple(self._links),
            device_paths=tuple(self._devices[True]),
            jetpack_files=tuple(self._files[False]),
            jetpack_device_paths=tuple(self._devices[False]),
            searched=tuple(dict.fromkeys(library.directory for library in libraries)),
            warnings=tuple(self._warnings),
        )

    def _warn(self, host_path: str, what: str, items: list[str]) -> None:
        if not items:
            return
        named = "; ".join(items[:NAMED_IN_WARNINGS])
        more = len(items) - NAMED_IN_WARNINGS
        self._warnings.append(
            f"{host_path}: {what}: {named}" + (f"; and {more} more" if more > 0 else "")
        )

    def _add(self, entry: CsvEntry, *, base: bool) -> bool:
        """Whether the host has what the line names."""
        paths = self._expand(entry.path)
        if entry.kind == "dev":
            # Boards of one list differ in their devices; whether one is there is the dev root's to say.
            self._devices[base] += paths
            return True
        present = [path for path in paths if self._add_file(entry.kind, path, base)]
        return bool(present)

    def _expand(self, pattern: str) -> list[str]:
        """Paths of that form, below the root, patterns within one directory at a time."""
        paths = [""]
        for part in pattern.split("/")[1:]:
            if not any(sign in part for sign in "*?["):
                paths = [f"{path}/{part}" for path in paths]
                continue
            grown = []
            for path in paths:
                inside = self._root.host_path(self._root.resolve(path or "/"))
                grown += [f"{path}/{n}" for n in list_names(inside) if fnmatchcase(n, part)]
            paths = grown[:MAXIMUM_MATCHES]
        return paths

    def _add_file(self, kind: str, path: str, base: bool) -> bool:
        directory, _, name = path.rpartition("/")
        # The link itself: its parents may be links, too.
        place = self._root.host_path(self._root.resolve(directory or "/"))
        try:
            status = os.lstat(f"{place}/{name}")
        except OSError:
            return False
        host_path = self._root.host_path(self._root.resolve(path))
        try:
            target = os.lstat(host_path)
        except OSError:
            return False
        if (base, path) in self._seen:
            return True
        self._seen.add((base, path))
        if kind == "sym" and stat.S_ISLNK(status.st_mode):
            if base:
                self._links.append(DriverLink(path, os.readlink(f"{place}/{name}")))
            else:
                # An extra has files alone: the target under the link's name is as good.
                self._files[base].append(DriverFile(name, host_path, (), place, directory))
            return True
        if not (stat.S_ISREG(target.st_mode) or stat.S_ISDIR(target.st_mode)):
            return False
        elf = read_elf(host_path) if base and ".so" in name else None
        if elf is not None and (elf.bits, elf.machine) == (64, self._machine):
            self._libraries[path] = DriverLibrary(
                name=name,
                soname=elf.soname or name,
                host_path=host_path,
                bits=64,
                machine=elf.machine,
                links=(),
                capabilities=EVERY,
                found_by=place,
                directory=directory,
            )
        else:
            self._files[base].append(DriverFile(name, host_path, (), place, directory))
        return True
