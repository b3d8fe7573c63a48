"""The words that give GPUs and CDI devices to a container of docker or podman, and what goes with them."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sampan.driver.chosen_roots import chosen_inventory
from sampan.engines.cdi_import import CdiWish, sort_names
from sampan.engines.driver_import import DriverImport, check_driver, names_in_variable
from sampan.engines.gpu_ways import Wanted, Way, choose_way
from sampan.engines.native.capabilities import number_of
from sampan.engines.protocol import Engine, EngineOptionError, EngineState
from sampan.kernel import libc
from sampan.model.container import ContainerSpec

if TYPE_CHECKING:
    from sampan.engines.leases import Lease

_PRIVILEGED = ("CAP_SYS_ADMIN", "ALL")


class GpuWords(NamedTuple):
    """What GPUs add to the command line.

    Attributes:
        engine_words: before ``run``; ``words`` are options of ``run``.
        way: None when no GPU gets in.
        leases: of idle GPUs, to be held by the engine's program.
    """

    engine_words: tuple[str, ...]
    words: tuple[str, ...]
    way: Way | None
    leases: "tuple[Lease, ...]"
    warnings: tuple[str, ...]


def plan_gpu_words(
    engine: Engine, state: EngineState, spec: ContainerSpec, image: Mapping[str, str]
) -> GpuWords:
    """Resolve the wish, and choose how it gets in.

    Args:
        engine: docker or podman.
        state: what it said.
        spec: with GPUs, CDI devices or NVIDIA_VISIBLE_DEVICES.
        image: the image's ENV.

    Raises:
        SampanError: no such GPU, an unmet requirement, an engine that cannot do it.
    """
    names = (*spec.cdi_devices, *names_in_variable(spec.gpus, dict(spec.environment)))
    wish = sort_device_names(engine, state, names, spec.cdi_directories)
    documented = wish.documented if wish else ()
    imported = check_driver(
        gpus_option=spec.gpus,
        image_environment=image,
        user_environment=dict(spec.environment),
        privileged=any(name in _PRIVILEGED for name in spec.cap_add),
        # A client that detaches ends at once, and a lease with it.
        lease_for=None if spec.detach else spec.name or engine.name,
        find_inventory=lambda: chosen_inventory(spec.driver_root, spec.dev_root),
        named=wish.automatic if wish else (),
    )
    places = [os.path.abspath(directory) for directory in spec.cdi_directories]
    words = [word for name in documented for word in ("--device", name)]
    way = None
    if imported.inventory is not None:
        way = _choose(engine, state, spec, imported)
        if way.engine_words[:1] == ("--cdi-spec-dir",) and documented and not places:
            # podman looks into the directories that it is told, and into no others.
            places = list(state.cdi_directories)
        words += [*_limits(spec, state), *way.words]
    told = tuple(word for place in places for word in ("--cdi-spec-dir", place))
    return GpuWords(
        (*told, *(way.engine_words if way else ())),
        tuple(words),
        way,
        imported.leases,
        imported.plan.warnings + _warn_of_leases(spec, imported),
    )


def sort_device_names(
    engine: Engine, state: EngineState, names: Sequence[str], directories: Sequence[str] = ()
) -> CdiWish | None:
    """Which CDI names the engine resolves, and which stand for the inventory's; None without names.

    Raises:
        EngineOptionError: it resolves none.
    """
    if not names:
        return None
    wish = sort_names(names, directories or state.cdi_directories)
    if wish.documented and not state.cdi_directories:
        raise EngineOptionError(
            f"{engine.name} {state.version} resolves no CDI names",
            evidence=f"--device {wish.documented[0]}",
            remedy="switch CDI on (docker 25 or newer: features.cdi in /etc/docker/daemon.json), or"
            " use sampan run without --engine",
        )
    return wish


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
