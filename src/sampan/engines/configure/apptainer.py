"""Apptainer: the list of files that ``--nv`` looks for, and whether ``--nv`` is always on.

It has no OCI runtime to replace. ``--nv`` imports what stands in ``nvliblist.conf``, which ages: libraries of
newer drivers are missing. The list gets those that this host's driver has. Vendor-neutral libraries (libGL,
libEGL ...) that stand in it are left to the administrator.
"""

import os

from sampan.engines.configure.edits import Edit
from sampan.engines.configure.line_text import LIST
from sampan.engines.configure.plan import EnginePlan, FilePlan, Machine, Wishes, accept
from sampan.model.inventory import Inventory

MAIN = "/etc/apptainer/apptainer.conf"
_PROGRAMS_LEFT_OUT = ("nvidia-settings", "nvidia-xconfig")


def locate(wishes: Wishes, machine: Machine) -> str:
    """The main file; the list lies beside it."""
    del machine
    return wishes.config or MAIN


def restart(machine: Machine, *, whole: bool) -> tuple[str, ...]:
    """Nothing: apptainer reads its files at each start."""
    del machine, whole
    return ()


def plan(wishes: Wishes, machine: Machine) -> EnginePlan:
    """What to write for apptainer; of the wishes ``set_as_default`` and ``config`` count.

    Raises:
        SampanError: the driver could not be looked at.
    """
    path = locate(wishes, machine)
    listed = os.path.join(os.path.dirname(path), "nvliblist.conf")
    notes = []
    edits = tuple(Edit(LIST, name, append=True) for name in list_names(machine.inventory()))
    if not edits:
        notes.append("no driver was found on this host, so nvliblist.conf gets nothing")
    if wishes.cdi:
        notes.append(
            "apptainer --device needs no setting, but a document without hooks:"
            " sampan cdi generate --hook-path '' --output /etc/cdi/nvidia.yaml"
        )
    files = [FilePlan(listed, "lines", edits, must_exist=True)] if edits else []
    if wishes.set_as_default:
        always = Edit(("always use nv",), "yes")
        files.append(FilePlan(path, "pairs", (always,), must_exist=True))
    return EnginePlan(path, tuple(files), (), tuple(notes), accept)


def list_names(inventory: Inventory) -> tuple[str, ...]:
    """Lines for ``nvliblist.conf``: libraries by their name up to ``.so``, then programs."""
    stems = {
        one.soname.partition(".so")[0] + ".so" for one in inventory.libraries if one.bits == 64
    }
    programs = {one.name for one in inventory.binaries} - set(_PROGRAMS_LEFT_OUT)
    return (*sorted(stems), *sorted(programs))
