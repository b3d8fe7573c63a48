"""Judges every file of a driver: taken, left out with a reason, or one that no rule explains.

A driver root that is no whole system is walked to its last file. In a system (``/``, a driver
container's tree) files of the driver are those in its own directories, and those whose names or
versions say so in the directories where drivers put something.
"""

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from sampan.driver.capabilities import BINARIES, CONFIGURATIONS, NEVER
from sampan.driver.elf import read_elf
from sampan.driver.files import read_absolute_description
from sampan.driver.leftout import find_reason
from sampan.driver.places import (
    ETC_DIRECTORIES,
    PROGRAM_DIRECTORIES,
    SHARE_DIRECTORIES,
    list_homes,
    module_directories,
)
from sampan.driver.procfs import is_driver_version
from sampan.driver.roots import Root
from sampan.model.inventory import Inventory

MAXIMUM_FILES = 200_000
KERNEL_TREES = frozenset({"/dev", "/proc", "/sys", "/tmp"})
SYSTEM_MARKS = ("/etc/os-release", "/usr/lib/os-release")
NAME_STARTS = (
    "libcuda.so",
    "libcudadebugger.so",
    "libnvcuvid.so",
    "libnvoptix",
    "nvoptix",
    "libnvsdm",
)
OWN_DIRECTORIES = ("/etc/nvidia", "/usr/share/nvidia", "/usr/local/share/nvidia", "/usr/lib/nvidia")


class Verdict(NamedTuple):
    """What becomes of a file: ``fate`` is ``taken``, ``left out`` or ``unknown``; path below the root."""

    path: str
    fate: str
    reason: str


def judge_files(inventory: Inventory) -> tuple[Verdict, ...]:
    """A verdict for every file of the driver, sorted by path.

    Of more than MAXIMUM_FILES files the rest is one more verdict: ``unknown``, for the root.

    Args:
        inventory: as ``take_inventory`` gave it.
    """
    root = Root(inventory.driver_root)
    judge = _Judge(root, inventory)
    paths: dict[str, None] = {}
    for path in _list_files(root, inventory, judge.homes):
        paths[path] = None
        if len(paths) >= MAXIMUM_FILES:
            break
    verdicts = [judge.judge(path) for path in sorted(paths)]
    if len(paths) >= MAXIMUM_FILES:
        verdicts.append(Verdict("/", "unknown", f"more than {MAXIMUM_FILES} files: not all judged"))
    return tuple(verdicts)


def _list_files(root: Root, inventory: Inventory, homes: tuple[str, ...]) -> Iterator[str]:
    if not _is_system(root):
        yield from _walk(root, "/")
        return
    version = inventory.driver_version
    own = [home for home in (*homes, *OWN_DIRECTORIES) if "nvidia" in home]
    searched = [root.inner_path(path) for path in inventory.searched]
    own += [f"{place}/nvidia" for place in searched]
    if version:
        own += [f"{place}/nvidia/{version}" for place in ("/lib/firmware", "/usr/lib/firmware")]
    for place in own:
        yield from _walk(root, root.resolve(place))
    machine = next((library.machine for library in inventory.libraries), "x86_64")
    shared = [*searched, *PROGRAM_DIRECTORIES, *module_directories(machine, ())]
    below = {name.rpartition("/")[0] for name in CONFIGURATIONS}
    for place in (*ETC_DIRECTORIES, *SHARE_DIRECTORIES):
        shared += [f"{place}/{subdirectory}" for subdirectory in below]
    shared += [
        f"{place}/{extension}" for place in shared for extension in ("drivers", "extensions")
    ]
    for place in shared:
        directory = root.resolve(place)
        for path in _walk(root, directory, deep=False):
            if _sounds_like_driver(path.rpartition("/")[2], version):
                yield path


def _is_system(root: Root) -> bool:
    return root.path == "/" or any(
        os.path.lexists(root.host_path(root.resolve(mark))) for mark in SYSTEM_MARKS
    )


def _sounds_like_driver(name: str, version: str) -> bool:
    return (
        "nvidia" in name.lower()
        or name.startswith(NAME_STARTS)
        or bool(version and name.endswith(f".so.{version}"))
    )


def _walk(root: Root, start: str, *, deep: bool = True) -> Iterator[str]:
    """Inner paths of the files and links below ``start``; links are not followed."""
    waiting = [start]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(root.host_path(directory)) as entries:
                for entry in entries:
                    path = f"{directory.rstrip('/')}/{entry.name}"
                    if not entry.is_dir(follow_symlinks=False):
                        yield path
                    elif deep and path not in KERNEL_TREES:
                        waiting.append(path)
        except OSError:
            continue


class _Judge:
    def __init__(self, root: Root, inventory: Inventory) -> None:
        self._root = root
        self._version = inventory.driver_version
        places: dict[str, None] = {}
        for library in inventory.libraries:
            for place in (library.found_by, os.path.dirname(library.host_path)):
                places[root.inner_path(place)] = None
        programs = [root.inner_path(found.host_path) for found in inventory.binaries]
        self.homes = list_homes(places, programs)
        self._own = ("", *self.homes) if not _is_system(root) else self.homes
        self._taken: dict[str, str] = {}
        self._names: dict[str, str] = {}
        for host_path in _list_taken(inventory):
            inner = root.inner_path(host_path)
            self._taken[inner] = inner
            self._names[inner.rpartition("/")[2]] = inner
        self._machines = {(library.bits, library.machine) for library in inventory.libraries}

    def judge(self, path: str) -> Verdict:
        real = self._root.resolve(path)
        if real in self._taken:
            return Verdict(path, "taken", "" if real == path else f"a name of {real}")
        reason = self._find_reason(path)
        if not reason:
            reason = self._find_links_reason(path, real)
        return Verdict(path, "left out" if reason else "unknown", reason)

    def _find_links_reason(self, path: str, real: str) -> str:
        try:
            mode = os.lstat(self._root.host_path(real)).st_mode
        except OSError:
            return "a link that leads nowhere"
        if stat.S_ISLNK(mode):
            return "a link in a circle"
        if real == path:
            return ""
        return "a link to a directory" if stat.S_ISDIR(mode) else self._find_reason(real)

    def _find_reason(self, path: str) -> str:
        own = tuple(path[len(home) :] for home in self._own if path.startswith(f"{home}/"))
        name = path.rpartition("/")[2]
        suffix = name.partition(".so.")[2]
        never = NEVER.get(name.partition(".so")[0], "") if ".so" in name else ""
        return (
            find_reason(path, own)
            or never
            or self._of_another_driver(path, suffix)
            or self._of_another_kind(path, name)
        )

    def _of_another_driver(self, path: str, suffix: str) -> str:
        words = (suffix, path.rpartition("/")[0].rpartition("/")[2] if "/firmware/" in path else "")
        for word in words:
            if is_driver_version(word) and word != self._version:
                return f"of driver {word}; {self._version or 'another one'} is in use"
        return ""

    def _of_another_kind(self, path: str, name: str) -> str:
        host_path = self._root.host_path(path)
        try:
            status = os.lstat(host_path)
        except OSError:
            return ""
        if not stat.S_ISREG(status.st_mode):
            return "" if stat.S_ISLNK(status.st_mode) else "no regular file"
        if status.st_size == 0:
            return "empty: the left-over of a container engine"
        other = self._names.get(name)
        if other is not None:
            return f"another of that name is taken: {other}"
        if name in BINARIES:
            return "a script around the program" if read_elf(host_path) is None else ""
        if name.endswith(".icd") and read_absolute_description(host_path):
            return "names the library by a path of this host; containers get one that does not"
        elf = read_elf(host_path) if ".so" in name else None
        if elf is not None and self._machines and (elf.bits, elf.machine) not in self._machines:
            return f"for another machine: {elf.bits}-bit {elf.machine}"
        stem = name.partition(".so")[0]
        same = next((taken for taken in self._names if taken.partition(".so")[0] == stem), None)
        if elf is not None and same is not None:
            return f"another of that library is taken: {self._names[same]}"
        return ""


def _list_taken(inventory: Inventory) -> Iterator[str]:
    for library in inventory.libraries:
        yield library.host_path
    for files in (
        inventory.binaries, inventory.configurations, inventory.firmware, inventory.sockets,
        inventory.modules, *(extra.files for extra in inventory.extras),
    ):  # fmt: skip
        for file in files:
            yield file.host_path
