"""The programs that ``sampan install`` puts in place, and the names by which others look for them.

Facts: field note nvidia-container-toolkit, sections 0, 1 and 3.1. docker looks on its own PATH for
``nvidia-cdi-hook`` (29) and ``nvidia-container-runtime-hook`` (19.03 and later) when ``--gpus`` is used.
"""

from typing import NamedTuple


class Stub(NamedTuple):
    """A program: the module and the call in it that it consists of."""

    module: str
    call: str


PROGRAMS: dict[str, Stub] = {
    "sampan-runtime.py": Stub("sampan.dropin.runtime", "program({home!r})"),
    "sampan-planner": Stub("sampan.engines.foreign_container", "program()"),
    "nvidia-cdi-hook": Stub("sampan.dropin.cdi_hook", "program()"),
    "nvidia-container-runtime-hook": Stub("sampan.dropin.prestart", "program({home!r})"),
    "nvidia-container-cli": Stub("sampan.cli.nvidia_container_cli", "program()"),
    "nvidia-ctk": Stub("sampan.cli.nvidia_ctk", "program({home!r})"),
    "nvidia-docker": Stub("sampan.cli.nvidia_docker", "program()"),
}
"""In the installation's own directory, beside ``sampan-hook``."""

SAMPAN_NAMES: dict[str, str] = {
    "sampan-hook": "sampan-hook",
    "sampan-runtime": "sampan-runtime",
}
NVIDIA_NAMES: dict[str, str] = {
    "nvidia-cdi-hook": "nvidia-cdi-hook",
    "nvidia-container-cli": "nvidia-container-cli",
    "nvidia-container-runtime": "sampan-runtime",
    "nvidia-container-runtime-hook": "nvidia-container-runtime-hook",
    "nvidia-container-runtime.cdi": "sampan-runtime",
    "nvidia-container-runtime.legacy": "sampan-runtime",
    "nvidia-container-toolkit": "nvidia-container-runtime-hook",
    "nvidia-ctk": "nvidia-ctk",
    "nvidia-docker": "nvidia-docker",
}
CHOICES: dict[str, dict[str, str]] = {
    "all": {**SAMPAN_NAMES, **NVIDIA_NAMES},
    "nvidia": NVIDIA_NAMES,
    "sampan": SAMPAN_NAMES,
}
"""Names in ``PREFIX/bin`` and the program that each is a link to, by the word of ``--names``."""
