"""What ``sampan configure`` wants of an engine, and what an engine's module answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sampan.engines.configure.edits import Edit
from sampan.errors import SampanError
from sampan.kernel.bounded_program import ProgramAnswer
from sampan.model.inventory import Inventory


class EngineConfigurationError(SampanError):
    """An engine, or the release that is here, cannot be configured the way that was asked for."""

    id = "engine-configuration"


class Wishes(NamedTuple):
    """The options of ``sampan configure``.

    Attributes:
        runtime_path: absolute path of our runtime; empty = leave runtimes alone.
        runtime_name: what users write after ``--runtime``.
        set_as_default: have the engine use it where nobody names a runtime.
        cdi: have the engine resolve CDI devices.
        spec_dirs: where CDI documents are; empty = the engine's own default.
        config: the file to edit; empty = where the engine looks.
    """

    runtime_path: str
    runtime_name: str = "nvidia"
    set_as_default: bool = False
    cdi: bool = False
    spec_dirs: tuple[str, ...] = ()
    config: str = ""


class Machine(NamedTuple):
    """How an engine's module sees this machine.

    Attributes:
        environment: variables of the caller.
        is_root: whether the engine of the whole machine is meant, not the caller's own.
        find: absolute path of a program, or empty.
        ask: runs a program to its end, within a time.
        inventory: looks at the host's driver.
    """

    environment: Mapping[str, str]
    is_root: bool
    find: Callable[[str], str]
    ask: Callable[[Sequence[str]], ProgramAnswer]
    inventory: Callable[[], Inventory]

    def config_home(self) -> str:
        """The caller's directory for configuration."""
        environment = self.environment
        return environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME') or '/'}/.config"

    def release(self, program: str) -> tuple[int, ...]:
        """The release of a program as its ``--version`` says it; empty when it is not there."""
        path = self.find(program)
        if not path:
            return ()
        for word in self.ask([path, "--version"]).output.replace(",", " ").split():
            parts = word.removeprefix("v").split("+")[0].split("-")[0].split("~")[0].split(".")
            if len(parts) > 1 and all(part.isascii() and part.isdecimal() for part in parts[:2]):
                return tuple(int(part) for part in parts[:3] if part.isdecimal())
        return ()


class FilePlan(NamedTuple):
    """Edits of one file.

    Attributes:
        path: absolute.
        syntax: ``json``, ``toml``, ``pairs`` or ``lines``.
        edits: in the order in which new keys shall appear.
        must_exist: the engine's package installs the file; without it something is wrong.
    """

    path: str
    syntax: str
    edits: tuple[Edit, ...]
    must_exist: bool = False


class EnginePlan(NamedTuple):
    """What configuring an engine means.

    Attributes:
        config: the file that stands for this configuration in the record of changes.
        files: what to edit.
        restart: commands that let the engine know; empty = it reads its files at each start.
        notes: what else the user should know.
        check: asks the engine whether it takes its configuration, before a change (True) and after
            it (False); returns what it objects to, or nothing.
    """

    config: str
    files: tuple[FilePlan, ...]
    restart: tuple[str, ...]
    notes: tuple[str, ...]
    check: Callable[[bool], str]


def accept(before: bool) -> str:
    """The check of an engine that cannot be asked."""
    del before
    return ""


def release_text(release: tuple[int, ...]) -> str:
    """``(28, 5, 2)`` as ``28.5.2``."""
    return ".".join(map(str, release))
