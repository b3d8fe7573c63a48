"""Which module configures an engine."""

import importlib
from typing import Protocol, cast

from sampan.engines.configure.plan import EnginePlan, Machine, Wishes

ENGINES: dict[str, str] = {
    "docker": "docker",
    "podman": "podman",
    "containerd": "containerd",
    "crio": "crio",
    "buildkit": "buildkit",
    "apptainer": "apptainer",
}
"""An engine's name and its module in this package."""
WITHOUT_RUNTIME = ("apptainer", "buildkit")
"""Engines that need no runtime of ours to be configured."""


class EngineModule(Protocol):
    """What each of the modules has."""

    def locate(self, wishes: Wishes, machine: Machine) -> str:
        """The file that stands for this configuration."""

    def plan(self, wishes: Wishes, machine: Machine) -> EnginePlan:
        """What to write."""

    def restart(self, machine: Machine, *, whole: bool) -> tuple[str, ...]:
        """The commands that let the engine know."""


def engine_module(engine: str) -> EngineModule:
    """The module of an engine in ``ENGINES``."""
    module = importlib.import_module(f"sampan.engines.configure.{ENGINES[engine]}")
    return cast("EngineModule", module)
