"""Below which directories the driver is looked for: an option, else a variable, else this system."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from sampan.errors import UsageError
from sampan.model.inventory import Inventory

DRIVER_ROOT, DEV_ROOT = "SAMPAN_DRIVER_ROOT", "SAMPAN_DEV_ROOT"


class HostRoots(NamedTuple):
    """``driver`` stands for / of the system that the driver is installed in, ``dev`` holds ``dev``."""

    driver: str
    dev: str


def choose_roots(
    driver_root: str = "", dev_root: str = "", environment: Mapping[str, str] | None = None
) -> HostRoots:
    """The roots that are meant.

    Without a dev root it is the driver root where that holds ``dev`` (a driver container mounts the
    host's there), else ``/``: NVIDIA's rule (field note, section 4.3).

    Args:
        driver_root: as written by the user; empty = SAMPAN_DRIVER_ROOT, else ``/``.
        dev_root: the same; empty = SAMPAN_DEV_ROOT, else by the rule above.
        environment: None = the process's.

    Raises:
        UsageError: a root is no directory.
    """
    said = os.environ if environment is None else environment
    names = {"--driver-root": driver_root, "--dev-root": dev_root}
    for option, variable in (("--driver-root", DRIVER_ROOT), ("--dev-root", DEV_ROOT)):
        if not names[option] and said.get(variable):
            names[variable] = said[variable]
    for name, root in names.items():
        if root and not os.path.isdir(root):
            raise UsageError(
                f"{name} {root} is no directory",
                evidence="not a directory" if os.path.lexists(root) else "it does not exist",
                remedy=f"name the directory that stands for /, or leave out {name}",
            )
    driver = driver_root or names.get(DRIVER_ROOT, "") or "/"
    usual = driver if os.path.isdir(f"{driver}/dev") else "/"
    return HostRoots(driver, dev_root or names.get(DEV_ROOT, "") or usual)


def chosen_inventory(driver_root: str = "", dev_root: str = "") -> Inventory:
    """The cached inventory below the roots that ``choose_roots`` gives.

    Raises:
        UsageError: a root is no directory.
    """
    from sampan.driver.cache import current_inventory

    roots = choose_roots(driver_root, dev_root)
    return current_inventory() if roots == ("/", "/") else current_inventory(*roots)
