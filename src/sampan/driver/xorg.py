"""Finds X.Org's modules of the driver: the display driver and the GLX extension's server side."""

import os
from collections.abc import Sequence

from sampan.driver.bounded import list_names
from sampan.driver.capabilities import DISPLAY
from sampan.driver.elf import read_elf
from sampan.driver.places import module_directories
from sampan.driver.procfs import is_driver_version
from sampan.driver.roots import Root
from sampan.model.inventory import DriverFile

DISPLAY_DRIVER = "nvidia_drv.so"
GLX_STEMS: tuple[str, ...] = ("libglxserver_nvidia", "libglx")
"""The second before GLVND (drivers up to 390), with the driver's version in the name only."""
EXTENSION_PLACES: tuple[str, ...] = ("extensions", "extensions/nvidia", "")
DRIVER_PLACES: tuple[str, ...] = ("drivers", "")


def find_modules(
    root: Root, version: str, machine: str, homes: Sequence[str]
) -> tuple[DriverFile, ...]:
    """The modules of driver ``version``: the display driver and the GLX module, as far as found.

    The display driver's name has no version: it is the one beside the GLX module, else the first
    that has no other driver's GLX module beside it (Arch keeps the two apart). The server looks for
    ``extensions/libglxserver_nvidia.so``, which packages make a link to the GLX module or its name.
    """
    drivers: list[DriverFile] = []
    modules: list[DriverFile] = []
    for directory in module_directories(machine, homes):
        glx, foreign = _find_glx(root, directory, version, machine)
        driver = None if foreign else _find_driver(root, directory, machine)
        if driver is not None and glx is not None and not modules:
            return (driver, glx)
        drivers += [driver] if driver is not None else []
        modules += [glx] if glx is not None else []
    return (*drivers[:1], *modules[:1])


def _find_glx(
    root: Root, directory: str, version: str, machine: str
) -> tuple[DriverFile | None, bool]:
    """The GLX module, and whether what is there is another driver's."""
    foreign = False
    for below in EXTENSION_PLACES:
        place = root.resolve(f"{directory}/{below}")
        names = list_names(root.host_path(place))
        for stem in GLX_STEMS:
            exact = f"{stem}.so.{version}"
            plain = f"{stem}.so" if stem != "libglx" else exact
            for name in (exact, plain):
                inner = root.resolve(f"{place}/{name}")
                base = os.path.basename(inner)
                suffix = base.partition(".so.")[2]
                if name not in names or (is_driver_version(suffix) and suffix != version):
                    continue
                if _is_module(root.host_path(inner), machine):
                    return _describe(root, inner, place, "extensions"), False
            foreign = foreign or any(
                name.startswith(f"{stem}.so.") and is_driver_version(name.partition(".so.")[2])
                for name in names
            )
    return None, foreign


def _find_driver(root: Root, directory: str, machine: str) -> DriverFile | None:
    for below in DRIVER_PLACES:
        place = root.resolve(f"{directory}/{below}")
        inner = root.resolve(f"{place}/{DISPLAY_DRIVER}")
        if _is_module(root.host_path(inner), machine):
            return _describe(root, inner, place, "drivers")
    return None


def _is_module(host_path: str, machine: str) -> bool:
    elf = read_elf(host_path)
    return elf is not None and (elf.bits, elf.machine) == (64, machine)


def _describe(root: Root, inner: str, place: str, below: str) -> DriverFile:
    return DriverFile(
        os.path.basename(inner), root.host_path(inner), DISPLAY, root.host_path(place), below
    )
