"""CRI-O: a drop-in below ``/etc/crio/crio.conf.d``, where files are merged key by key (crio.conf.d(5)).

CDI is always on there.
"""

import tomllib
from collections.abc import Mapping

from sampan.engines.configure.edits import Edit, find_value
from sampan.engines.configure.plan import (
    EngineConfigurationError,
    EnginePlan,
    FilePlan,
    Machine,
    Wishes,
)

DROP_IN = "/etc/crio/crio.conf.d/99-sampan.conf"
_COPIED = ("allowed_annotations", "monitor_path", "monitor_cgroup", "monitor_env",
           "privileged_without_host_devices")  # fmt: skip
"""Settings of a runtime that are about CRI-O, not about the program."""


def locate(wishes: Wishes, machine: Machine) -> str:
    """The file to edit."""
    del machine
    return wishes.config or DROP_IN


def restart(machine: Machine, *, whole: bool) -> tuple[str, ...]:
    """The command that lets CRI-O know; containers go on."""
    del machine, whole
    return ("systemctl restart crio",)


def plan(wishes: Wishes, machine: Machine) -> EnginePlan:
    """What to write for CRI-O."""
    path = locate(wishes, machine)
    program = machine.find("crio")
    base = ("crio", "runtime")
    edits, notes = [], []
    if wishes.runtime_path:
        if wishes.set_as_default:
            edits.append(Edit((*base, "default_runtime"), wishes.runtime_name))
        runtime = (*base, "runtimes", wishes.runtime_name)
        edits += [
            Edit((*runtime, "runtime_path"), wishes.runtime_path),
            Edit((*runtime, "runtime_type"), "oci"),
        ]
        if program:
            edits += [
                Edit((*runtime, name), value)
                for name, value in _copied(_ask_whole(machine, program), wishes)
            ]
    if wishes.cdi:
        notes.append("CRI-O resolves CDI devices by itself; there is nothing to switch on")
    if wishes.spec_dirs:
        edits.append(Edit((*base, "cdi_spec_dirs"), list(wishes.spec_dirs)))
    if not program:
        notes.append("crio is not on this system's PATH, so it was not asked")

    def check(before: bool) -> str:
        if before or not program or not wishes.runtime_path or wishes.config:
            return ""
        try:
            whole = _ask_whole(machine, program)
        except EngineConfigurationError as error:
            return error.evidence
        found = find_value(whole, (*base, "runtimes", wishes.runtime_name, "runtime_path"))
        if found != wishes.runtime_path:
            return f"crio config shows {found!r} as program of the runtime {wishes.runtime_name}"
        return ""

    return EnginePlan(
        path,
        (FilePlan(path, "toml", tuple(edits)),),
        restart(machine, whole=True),
        tuple(notes),
        check,
    )


def _copied(whole: Mapping[str, object], wishes: Wishes) -> list[tuple[str, object]]:
    runtimes = find_value(whole, ("crio", "runtime", "runtimes"))
    if find_value(runtimes, (wishes.runtime_name,)) is not None:
        return []
    default = str(find_value(whole, ("crio", "runtime", "default_runtime")) or "")
    found = ((name, find_value(runtimes, (default, name))) for name in _COPIED)
    return [(name, value) for name, value in found if value]


def _ask_whole(machine: Machine, program: str) -> Mapping[str, object]:
    answer = machine.ask([program, "config"])
    try:
        if answer.code == 0:
            return tomllib.loads(answer.output)
        evidence = answer.said
    except ValueError as error:
        evidence = f"crio config: {error}"
    raise EngineConfigurationError(
        "crio does not take its configuration", evidence=evidence, remedy="correct that first"
    )
