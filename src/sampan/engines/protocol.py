"""What an engine is that somebody else provides: a program with ``docker run``'s command line.

The native engine is not behind this: it starts processes of ours, these are handed over to. Only
what ``sampan run`` uses is here; containers of docker and podman are looked after with ``docker ps``
and its like.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sampan.errors import SampanError


class EngineUnavailableError(SampanError):
    """The engine's program or its daemon cannot be used."""

    id = "engine-unavailable"


class EngineOptionError(SampanError):
    """The engine cannot do what an option asks for."""

    id = "engine-option"


class EngineState(NamedTuple):
    """What decides how GPUs get into an engine's containers.

    Attributes:
        version: e.g. ``28.5.2``.
        cdi_directories: where it looks for CDI documents; empty = it resolves no CDI names.
        takes_cdi_directories: whether a directory can be named for one run.
        runtimes: what ``--runtime`` takes, and the path of the program (may be empty).
        rootless: whether its containers live in a user namespace of an ordinary user.
        elsewhere: where it runs when that is not this machine, e.g. ``ssh://gpu1``; else empty.
    """

    version: str
    cdi_directories: tuple[str, ...] = ()
    takes_cdi_directories: bool = False
    runtimes: tuple[tuple[str, str], ...] = ()
    rootless: bool = False
    elsewhere: str = ""

    @property
    def release(self) -> tuple[int, ...]:
        """The version's leading numbers."""
        found = re.match(r"\d+(\.\d+)*", self.version)
        return tuple(map(int, found[0].split("."))) if found else ()


class Engine(Protocol):
    """docker, podman."""

    @property
    def name(self) -> str:
        """As ``--engine`` has it."""

    @property
    def command(self) -> tuple[str, ...]:
        """The program, and what stands before its subcommand."""

    def look(self) -> EngineState:
        """Ask the engine.

        Raises:
            EngineUnavailableError: it does not answer.
        """

    def find_image_environment(self, image: str) -> Mapping[str, str] | None:
        """ENV of an image in the engine's own store; None when the image is not there.

        Raises:
            EngineUnavailableError: it does not answer.
        """
