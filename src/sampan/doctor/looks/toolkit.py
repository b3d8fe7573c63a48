"""NVIDIA's container toolkit, where it is installed: version, configuration, what mode it is in.

Field note nvidia-container-toolkit, 1.4 and 2. ``auto`` means ``legacy`` before 1.18 on ordinary
hosts and in-memory CDI (``jit-cdi``) since; ``docker --gpus`` ran the hook in every case before
docker 29.
"""

from typing import Any, NamedTuple

from sampan.doctor.host import Host, find_version
from sampan.doctor.looks.configuration import read_toml, table
from sampan.doctor.subject import Engine

CONFIGURATION = "/etc/nvidia-container-runtime/config.toml"
HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
RUNTIME = "nvidia-container-runtime"
HOOK_DIRECTORIES = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")


class Toolkit(NamedTuple):
    """What is installed of it.

    Attributes:
        hook: path of the prestart hook that ``docker --gpus`` needs; empty when absent.
        runtime: path of the runtime.
        mode: ``legacy``, ``cdi``, ``jit-cdi`` or ``csv``, with ``auto`` resolved.
        no_cgroups: of the configuration. ``swarm_resource`` likewise.
        is_podman_hook: whether podman is told to run the hook, by a file of its hook directories.
    """

    hook: str
    runtime: str
    version: tuple[int, ...]
    mode: str
    no_cgroups: bool
    swarm_resource: str
    is_podman_hook: bool

    @property
    def is_installed(self) -> bool:
        """Whether there is anything of it."""
        return bool(self.hook or self.runtime)

    def hooks(self, engine: Engine) -> bool:
        """Whether containers of an engine that want GPUs may go through the prestart hook."""
        if not self.hook or not engine.program:
            return False
        if engine.kind == "docker":
            return self.mode == "legacy" or engine.version < (29,)
        if engine.kind == "podman":
            return self.is_podman_hook
        return self.mode == "legacy" and "nvidia" in engine.runtimes


def look_at_toolkit(host: Host) -> Toolkit:
    """Look for its programs and read its configuration."""
    hook = next((path for name in HOOKS if (path := host.find_program(name))), "")
    runtime = host.find_program(RUNTIME)
    settings: dict[str, Any] = read_toml(host, CONFIGURATION)
    mode = str(table(settings, RUNTIME).get("mode") or "auto")
    version: tuple[int, ...] = ()
    program = host.find_program("nvidia-ctk") or hook or runtime
    if program:
        version = find_version(host.ask(program, "--version").output)
    if mode == "auto":
        mode = "jit-cdi" if version >= (1, 18) else "legacy"
    return Toolkit(
        hook,
        runtime,
        version,
        mode,
        table(settings, "nvidia-container-cli").get("no-cgroups") is True,
        str(settings.get("swarm-resource") or ""),
        any("nvidia" in name for directory in HOOK_DIRECTORIES for name in host.list(directory)),
    )
