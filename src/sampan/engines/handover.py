"""``sampan run --engine docker|podman``: the same words, handed over to the engine's own program.

We look, choose how GPUs get in, and become ``docker run``: terminal, signals, standard input and
exit code are its own from then on.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from sampan.driver.chosen_roots import chosen_inventory
from sampan.engines.cdi_import import sort_names
from sampan.engines.client import pull_image
from sampan.engines.docker import Docker
from sampan.engines.driver_import import DriverImport, check_driver
from sampan.engines.gpu_ways import Wanted, Way, choose_way
from sampan.engines.native.capabilities import number_of
from sampan.engines.podman import Podman
from sampan.engines.protocol import (
    Engine,
    EngineOptionError,
    EngineState,
    EngineUnavailableError,
)
from sampan.engines.run_words import GivenWords, render_run
from sampan.errors import UsageError
from sampan.kernel import libc
from sampan.model.container import ContainerSpec

if TYPE_CHECKING:
    from sampan.engines.leases import Lease

_VISIBLE = "NVIDIA_VISIBLE_DEVICES"
_PRIVILEGED = ("CAP_SYS_ADMIN", "ALL")
_ENGINES: dict[str, type[Docker] | type[Podman]] = {"docker": Docker, "podman": Podman}


class Handover(NamedTuple):
    """What the engine's program is to be started with.

    Attributes:
        arguments: the vector; the first is the program's absolute path.
        leases: of idle GPUs; their descriptors are inherited, so the program holds them.
        way: how GPUs get in; None when none do.
        warnings: for the user.
    """

    arguments: tuple[str, ...]
    leases: "tuple[Lease, ...]"
    way: Way | None
    warnings: tuple[str, ...]

    def describe(self) -> list[str]:
        """Lines for ``--verbose``."""
        lines = []
        if self.way is not None:
            lines.append(f"GPUs get in by {self.way.name}: {self.way.why}")
            lines += [f"  not by {text}" for text in self.way.passed_over]
            lines += [f"  note: {text}" for text in self.way.notes]
        return [*lines, shlex.join(self.arguments)]


def prepare_handover(
    engine_name: str,
    spec: ContainerSpec,
    given: GivenWords,
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> Handover:
    """Decide everything about a container of docker or podman.

    Args:
        engine_name: ``docker`` or ``podman``.
        spec: what is wanted.
        given: words that are handed on as they were typed.
        warn: is told what the user should know before an image is fetched.

    Raises:
        SampanError: whatever stands in the way.
    """
    if spec.image.startswith("-"):
        raise UsageError(f"{spec.image} is no image's name")
    engine: Engine = _ENGINES[engine_name]()
    named = any(name == _VISIBLE for name, _ in spec.environment)
    if spec.gpus is None and not spec.cdi_devices and not named:
        _refuse_directories(spec, None, engine_name)
        words = render_run(engine_name, spec, given, _memory_bytes(), ())
        return Handover((*engine.command, "run", *words), (), None, ())
    state = engine.look()
    _refuse_directories(spec, state, engine_name)
    if state.elsewhere and any(mount.kind == "bind" for mount in spec.mounts):
        warn(f"-v shows directories of {state.elsewhere}, not of this machine")
    image = find_image(engine, spec.image, pull=given.pull, platform=spec.platform)
    if given.pull == "always":
        given = given._replace(pull="missing")
    return _with_gpus(engine, state, spec, given, image)


def _with_gpus(
    engine: Engine,
    state: EngineState,
    spec: ContainerSpec,
    given: GivenWords,
    image: dict[str, str],
) -> Handover:
    directories = spec.cdi_directories or state.cdi_directories
    names = sort_names(spec.cdi_devices, directories) if spec.cdi_devices else None
    documented = names.documented if names else ()
    if documented and not state.cdi_directories:
        raise EngineOptionError(
            f"{engine.name} {state.version} resolves no CDI names",
            evidence=f"--device {documented[0]}",
            remedy="switch CDI on (docker 25 or newer: features.cdi in /etc/docker/daemon.json), or"
            " use sampan run without --engine",
        )
    imported = check_driver(
        gpus_option=spec.gpus,
        image_environment=image,
        user_environment=dict(spec.environment),
        privileged=any(name in _PRIVILEGED for name in spec.cap_add),
        # A client that detaches ends at once, and a lease with it.
        lease_for=None if spec.detach else spec.name or engine.name,
        find_inventory=lambda: chosen_inventory(spec.driver_root, spec.dev_root),
        named=names.automatic if names else (),
    )
    way = None
    engine_words: tuple[str, ...] = ()
    words: list[str] = [word for name in documented for word in ("--device", name)]
    for directory in spec.cdi_directories:
        engine_words += ("--cdi-spec-dir", os.path.abspath(directory))
    if imported.inventory is not None:
        way = _choose(engine, state, spec, imported)
        # podman looks into the directories that it is told, and into no others.
        clash = way.engine_words[:1] == ("--cdi-spec-dir",) and documented and not engine_words
        if clash:
            for directory in state.cdi_directories:
                engine_words += ("--cdi-spec-dir", directory)
        engine_words += way.engine_words
        words += [*_limits(spec, state), *way.words]
    warnings = imported.plan.warnings + _warn_of_leases(spec, imported)
    rendered = render_run(engine.name, spec, given, _memory_bytes(), words)
    return Handover(
        (*engine.command, *engine_words, "run", *rendered), imported.leases, way, warnings
    )


def _choose(engine: Engine, state: EngineState, spec: ContainerSpec, imported: DriverImport) -> Way:
    assert imported.inventory is not None
    wanted = Wanted(imported.inventory, imported.request, imported.gpus, spec.remove)
    return choose_way(engine.name, state, wanted)


def _limits(spec: ContainerSpec, state: EngineState) -> list[str]:
    """GPU programs pin memory.

    Where a container that we are in keeps us from raising the limit, a daemon of this machine is
    most likely kept from it too, and would refuse to start anything.
    """
    named = any(name == "memlock" for name, _, _ in spec.ulimits)
    forbidden = state.rootless or not libc.in_bounding_set(number_of("SYS_RESOURCE"))
    return [] if named or forbidden else ["--ulimit", "memlock=-1:-1"]


def _warn_of_leases(spec: ContainerSpec, imported: DriverImport) -> tuple[str, ...]:
    if spec.detach and imported.request.source.startswith("--gpus idle"):
        return ("idle GPUs of a detached container are not leased: its engine holds no lease",)
    return ()


def _refuse_directories(spec: ContainerSpec, state: EngineState | None, engine: str) -> None:
    if spec.cdi_directories and not (state and state.takes_cdi_directories):
        raise EngineOptionError(
            f"{engine} cannot be told --cdi-spec-dir",
            evidence=f"its own directories are {', '.join(state.cdi_directories) or 'none'}"
            if state
            else "no CDI device is asked for",
            remedy="put the document into /etc/cdi, or use sampan run without --engine",
        )


def find_image(
    engine: Engine, image: str, *, pull: str = "missing", platform: str = ""
) -> dict[str, str]:
    """ENV of the image, which the engine fetches where it must.

    Raises:
        EngineUnavailableError: it is not there, or cannot be fetched.
    """
    found = None if pull == "always" else engine.find_image_environment(image)
    if found is None and pull != "never":
        code = pull_image(engine.command, image, platform)
        if code:
            raise EngineUnavailableError(
                f"{engine.name} could not fetch {image}",
                evidence=f"{engine.name} pull ended with {code}; it says why above",
                remedy=f"{engine.name} pull {image}",
            )
        found = engine.find_image_environment(image)
    if found is None:
        raise EngineUnavailableError(
            f"{engine.name} has no image {image}",
            evidence=f"{engine.name} image inspect knows none of that name",
            remedy=f"{engine.name} pull {image}",
        )
    return dict(found)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def hand_over(arguments: Sequence[str], leases: "Sequence[Lease]" = ()) -> NoReturn:
    """Become the engine's program.

    Raises:
        EngineUnavailableError: it cannot be executed.
    """
    for lease in leases:
        for held in (lease.claim, lease.note):
            if held is not None:
                os.set_inheritable(held.fileno(), True)
    try:
        os.execv(arguments[0], list(arguments))  # noqa: S606 - an absolute path, no shell
    except OSError as error:
        raise EngineUnavailableError(
            f"{arguments[0]} cannot be executed", evidence=error.strerror or ""
        ) from error
