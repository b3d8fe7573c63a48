"""``sampan run --engine docker|podman``: the same words, handed over to the engine's own program.

We look, choose how GPUs get in, and become ``docker run``: terminal, signals, standard input and
exit code are its own from then on.
"""

import os
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from sampan.engines.client import pull_image
from sampan.engines.docker import Docker
from sampan.engines.podman import Podman
from sampan.engines.protocol import (
    Engine,
    EngineOptionError,
    EngineState,
    EngineUnavailableError,
)
from sampan.engines.run_words import GivenWords, render_run
from sampan.errors import UsageError
from sampan.model.container import ContainerSpec

if TYPE_CHECKING:
    from sampan.engines.gpu_ways import Way
    from sampan.engines.leases import Lease

_VISIBLE = "NVIDIA_VISIBLE_DEVICES"
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
    way: "Way | None"
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
    from sampan.engines.gpu_words import plan_gpu_words

    gpus = plan_gpu_words(engine, state, spec, image)
    words = render_run(engine_name, spec, given, _memory_bytes(), gpus.words)
    return Handover(
        (*engine.command, *gpus.engine_words, "run", *words), gpus.leases, gpus.way, gpus.warnings
    )


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
