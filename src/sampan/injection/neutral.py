"""Facts of an image that nobody has seen: for CDI documents, and for ``sampan explain`` alone.

Every directory of it is what it is called, except ``/usr/lib32``, and its loader looks where the host
keeps the driver's libraries. It holds the vendor-neutral loaders, no cache and no
forward-compatibility package.
"""

from sampan.injection.files import MODULE_DIRECTORIES
from sampan.injection.libraries import NEUTRAL
from sampan.injection.places import MULTIARCH
from sampan.model.facts import RESOLVED_DIRECTORIES, ImageFacts, architecture_word
from sampan.model.inventory import Inventory

LEADERS: tuple[str, ...] = ("libcuda.so.1", "libnvidia-ml.so.1", "libdxcore.so")
"""Whose directory is taken for the driver's own, the first that the host has."""

NO_INVENTORY = Inventory("/", "/", "", "", "", "none", *((),) * 8)
"""Of a host that nobody looked at."""


def neutral_facts(inventory: Inventory, *, library_directory: str = "") -> ImageFacts:
    """Facts of a glibc image in which the plan puts libraries where the host has them.

    Args:
        inventory: of the host; its machine is the image's.
        library_directory: another container directory for the 64-bit libraries.
    """
    machine = next((found.machine for found in inventory.libraries if found.bits == 64), "x86_64")
    wide = library_directory or _own_directory(inventory, 64)
    wide = wide or f"/usr/lib/{MULTIARCH.get(machine, machine)}"
    narrow = _own_directory(inventory, 32)
    resolved = {path: path for path in RESOLVED_DIRECTORIES}
    if narrow:
        # One of the names under which 32-bit libraries are looked for.
        resolved["/usr/lib32"] = narrow
    return ImageFacts(
        digest="",
        architecture=architecture_word(machine),
        libc="glibc",
        libc_version="",
        interpreter="",
        resolved=resolved,
        directories=(*((narrow,) if narrow else ()), _module_directory(wide)),
        library_directories=(wide, narrow) if narrow else (wide,),
        loader_cache=b"",
        libraries={f"{wide}/{name}": 1 for name, _ in NEUTRAL},
        cuda_compat=None,
        passwd="",
        group="",
        shell="",
    )


def _module_directory(wide: str) -> str:
    """As if an X server were there: of the kind of system that the library directory tells."""
    return MODULE_DIRECTORIES[1 if wide.endswith("/lib64") else 0]


def _own_directory(inventory: Inventory, bits: int) -> str:
    """The directory in the driver root in which the first of LEADERS was found."""
    root = inventory.driver_root.rstrip("/")
    for leader in LEADERS:
        for library in inventory.libraries:
            if library.bits == bits and library.soname == leader:
                return library.found_by.removeprefix(root) or "/"
    return ""
