"""Podman: a drop-in of ``containers.conf``, of the machine or of the caller.

CDI needs no setting there. Hooks directories are left alone: runtime and CDI do all that a hook would.
"""

import os

from sampan.engines.configure.edits import Edit
from sampan.engines.configure.plan import (
    EngineConfigurationError,
    EnginePlan,
    FilePlan,
    Machine,
    Wishes,
    release_text,
)

NAME = "containers.conf.d/99-sampan.conf"
HAS_CDI = (4, 1)
HAS_SPEC_DIRS = (5, 5)


def locate(wishes: Wishes, machine: Machine) -> str:
    """The file to edit."""
    if wishes.config:
        return wishes.config
    base = "/etc" if machine.is_root else machine.config_home()
    return f"{base}/containers/{NAME}"


def restart(machine: Machine, *, whole: bool) -> tuple[str, ...]:
    """Nothing: podman reads its files at each start."""
    del machine, whole
    return ()


def plan(wishes: Wishes, machine: Machine) -> EnginePlan:
    """What to write for podman.

    Raises:
        EngineConfigurationError: this release cannot do what is wished.
    """
    path = locate(wishes, machine)
    release = machine.release("podman")
    edits, notes = [], []
    if wishes.runtime_path:
        if wishes.set_as_default:
            edits.append(Edit(("engine", "runtime"), wishes.runtime_name))
        edits.append(Edit(("engine", "runtimes", wishes.runtime_name), [wishes.runtime_path]))
    if wishes.cdi and release and release < HAS_CDI:
        raise EngineConfigurationError(
            f"podman {release_text(release)} does not read CDI documents",
            evidence="it does since 4.1",
            remedy="sampan configure podman, and then: podman --runtime nvidia run ...",
        )
    if wishes.cdi:
        notes.append("podman resolves CDI devices by itself; there is nothing to switch on")
    if wishes.spec_dirs:
        if release and release < HAS_SPEC_DIRS:
            raise EngineConfigurationError(
                f"podman {release_text(release)} reads /etc/cdi and /var/run/cdi only",
                evidence="cdi_spec_dirs came with 5.5",
                remedy="sampan cdi generate --output /etc/cdi/nvidia.yaml",
            )
        edits.append(Edit(("engine", "cdi_spec_dirs"), list(wishes.spec_dirs)))
    if machine.environment.get("CONTAINERS_CONF"):
        notes.append("CONTAINERS_CONF is set: podman reads that file alone, and not this one")

    def check(before: bool) -> str:
        program = machine.find("podman")
        if not program or not wishes.runtime_path or not os.path.exists(path):
            return ""
        # CONTAINERS_CONF makes podman read this file and no other: what it says counts.
        words = ["/usr/bin/env", f"CONTAINERS_CONF={path}", program]
        name = [] if before else ["--runtime", wishes.runtime_name]
        answer = machine.ask([*words, *name, "info", "--format", "{{.Host.OCIRuntime.Path}}"])
        if answer.code != 0:
            return answer.said or "podman info failed"
        if not before and answer.output.strip() != wishes.runtime_path:
            return f"podman finds {answer.output.strip()} as runtime {wishes.runtime_name}"
        return ""

    return EnginePlan(path, (FilePlan(path, "toml", tuple(edits)),), (), tuple(notes), check)
