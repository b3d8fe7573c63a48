"""NVIDIA's container toolkit, where it is installed: version, configuration, what mode it is in.

Field note nvidia-container-toolkit, 1.4 and 2. ``auto`` means ``legacy`` before 1.18 on ordinary
hosts and in-memory CDI (``jit-cdi``) since; ``docker --gpus`` ran the hook in every case before
docker 29.
"""

from typing import Any, NamedTuple

from sampan.doctor.host import Host, find_version
from sampan.doctor.looks.configuration import read_toml, table

CONFIGURATION = "/etc/nvidia-container-runtime/config.toml"
HOOKS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit")
RUNTIME = "nvidia-container-runtime"


class Toolkit(NamedTuple):
    """What is installed of it.

    Attributes:
        hook: path of the prestart hook that ``docker --gpus`` needs; empty when absent.
        runtime: path of the runtime.
        mode: ``legacy``, ``cdi``, ``jit-cdi`` or ``csv``, with ``auto`` resolved.
        no_cgroups: of the configuration. ``swarm_resource`` likewise.
    """

    hook: str
    runtime: str
    version: tuple[int, ...]
    mode: str
    no_cgroups: bool
    swarm_resource: str

    @property
    def is_installed(self) -> bool:
        """Whether there is anything of it."""
        return bool(self.hook or self.runtime)


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
    )
