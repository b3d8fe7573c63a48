"""Docker: ``daemon.json`` of the machine's daemon, or of the caller's rootless one.

``runtimes``, ``default-runtime`` and ``features`` are read again at ``reload`` (dockerd(8), "Configuration
reload behavior"); CDI is set up when the daemon starts. A directive that a release does not know keeps it
from starting, so what is written depends on the release: CDI can be had since 25.0 and is on since 28.2.
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

HAS_CDI = (25,)
HAS_CDI_ON = (28, 2)
CAN_VALIDATE = (23,)


def locate(wishes: Wishes, machine: Machine) -> str:
    """The file to edit."""
    if wishes.config:
        return wishes.config
    if machine.is_root:
        return "/etc/docker/daemon.json"
    return f"{machine.config_home()}/docker/daemon.json"


def restart(machine: Machine, *, whole: bool) -> tuple[str, ...]:
    """The command that lets the daemon know; a reload leaves containers alone."""
    verb = "restart" if whole else "reload"
    return (f"systemctl {verb} docker" if machine.is_root else f"systemctl --user {verb} docker",)


def plan(wishes: Wishes, machine: Machine) -> EnginePlan:
    """What to write for docker.

    Raises:
        EngineConfigurationError: CDI is wished from a release that does not have it.
    """
    path = locate(wishes, machine)
    release = machine.release("dockerd")
    edits, notes = [], []
    if wishes.runtime_path:
        edits.append(Edit(("runtimes", wishes.runtime_name, "path"), wishes.runtime_path))
        if wishes.set_as_default:
            edits.append(Edit(("default-runtime",), wishes.runtime_name))
            notes.append(
                "every container now starts through it; only those with NVIDIA_VISIBLE_DEVICES or a"
                " CDI device are changed"
            )
    wants_cdi = wishes.cdi or bool(wishes.spec_dirs)
    if wants_cdi:
        if release and release < HAS_CDI:
            raise EngineConfigurationError(
                f"docker {release_text(release)} does not know CDI", evidence="it came with 25.0",
                remedy="sampan configure docker, and then: docker run --runtime nvidia ...",
            )  # fmt: skip
        if release >= HAS_CDI_ON:
            notes.append(f"docker {release_text(release)} resolves CDI devices unless told not to")
        edits.append(Edit(("features", "cdi"), value=True))
    if wishes.spec_dirs:
        edits.append(Edit(("cdi-spec-dirs",), list(wishes.spec_dirs)))
    if not release:
        notes.append("dockerd is not on this system's PATH, so it was not asked")
    elif release < CAN_VALIDATE:
        notes.append(f"docker {release_text(release)} cannot check its file before it starts")

    def check(before: bool) -> str:
        if release < CAN_VALIDATE or (before and not os.path.exists(path)):
            return ""
        answer = machine.ask([machine.find("dockerd"), "--validate", "--config-file", path])
        return "" if answer.code == 0 else answer.said or "dockerd --validate failed"

    return EnginePlan(
        path,
        (FilePlan(path, "json", tuple(edits)),),
        restart(machine, whole=wants_cdi),
        tuple(notes),
        check,
    )
