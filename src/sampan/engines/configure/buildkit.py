"""BuildKit on its own: ``buildkitd.toml``. Docker's built-in one is configured by ``daemon.json``.

Builds get GPUs by ``RUN --device`` and CDI since BuildKit 0.20, which has CDI on by default. Whoever builds
has to allow it (``--allow device``), and the daemon has to let him: the entitlement ``device``.
"""

from sampan.engines.configure.edits import Edit
from sampan.engines.configure.plan import (
    EngineConfigurationError,
    EnginePlan,
    FilePlan,
    Machine,
    Wishes,
    accept,
    release_text,
)

HAS_CDI = (0, 20)


def locate(wishes: Wishes, machine: Machine) -> str:
    """The file to edit."""
    if wishes.config:
        return wishes.config
    base = "/etc" if machine.is_root else machine.config_home()
    return f"{base}/buildkit/buildkitd.toml"


def restart(machine: Machine, *, whole: bool) -> tuple[str, ...]:
    """The command that lets buildkitd know."""
    del whole
    return ("systemctl restart buildkit" if machine.is_root
            else "systemctl --user restart buildkit",)  # fmt: skip


def plan(wishes: Wishes, machine: Machine) -> EnginePlan:
    """What to write for BuildKit; a runtime only with ``set_as_default``, since it knows but one.

    Raises:
        EngineConfigurationError: this release does not know CDI.
    """
    path = locate(wishes, machine)
    release = machine.release("buildkitd")
    if release and release < HAS_CDI:
        raise EngineConfigurationError(
            f"buildkitd {release_text(release)} does not know CDI",
            evidence="it came with 0.20",
            remedy="update BuildKit",
        )
    edits = [
        Edit(("insecure-entitlements",), "device", append=True),
        Edit(("cdi", "disabled"), value=False),
    ]
    notes = ["in a Dockerfile: RUN --device=nvidia.com/gpu=all ..., and build with --allow device"]
    if wishes.spec_dirs:
        edits.append(Edit(("cdi", "specDirs"), list(wishes.spec_dirs)))
    if wishes.set_as_default and wishes.runtime_path:
        edits.append(Edit(("worker", "oci", "binary"), wishes.runtime_path))
    notes.append("buildkitd cannot check its file before it starts")
    return EnginePlan(
        path,
        (FilePlan(path, "toml", tuple(edits)),),
        restart(machine, whole=True),
        tuple(notes),
        accept,
    )
