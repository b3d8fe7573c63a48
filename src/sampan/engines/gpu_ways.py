"""How GPUs get into containers of docker and podman: by CDI names, by a runtime, by plain flags.

The first way that this engine can go with this request is taken: documents of just the capabilities
that are wanted, a runtime, a document that has more of them, a flag for each file. What kept us from
the others is kept, for ``--verbose``. Nothing is ever written where an engine looks for documents by
itself.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.fingerprint import fingerprint_text
from sampan.engines.cdi import load_registry, locate_hook, make_spec, read_fingerprint
from sampan.engines.driver_import import name_devices
from sampan.engines.kept_files import keep_document, keep_files
from sampan.engines.protocol import EngineState, EngineUnavailableError
from sampan.gpus.variables import DRIVER_CAPABILITIES, VISIBLE
from sampan.injection.cdi_engines import engine_problem
from sampan.injection.cdi_generate import CdiOptions
from sampan.injection.cdi_jobs import HookChoice
from sampan.injection.cdi_resolve import CdiDevices, LoadedSpec, collect_devices
from sampan.injection.docker_flags import plan_plain, render_plain
from sampan.model.cdi import CdiDevice
from sampan.model.inventory import CAPABILITIES, DeviceNode, Gpu, Inventory
from sampan.model.request import Request

KIND = "nvidia.com/gpu"
RUNTIMES: tuple[str, ...] = ("sampan", "sampan-runtime", "nvidia", "nvidia-container-runtime")
"""Names of a runtime, or of its program's file, that imports the driver; the first found is taken."""
PRIVATE_VENDOR = "sampan.run"
"""Of documents for one run: an engine's own directories cannot hold the same name."""


class Wanted(NamedTuple):
    """What is to get in: outcome of ``driver_import.check_driver``.

    Attributes:
        removed: whether the container is removed when it ends, so that it never starts again.
    """

    inventory: Inventory
    request: Request
    gpus: tuple[Gpu, ...]
    removed: bool


class Way(NamedTuple):
    """How.

    Attributes:
        name: ``CDI``, ``runtime`` or ``plain flags``.
        why: one clause; ``passed_over`` says why not another way.
        engine_words: options of the engine's program, before ``run``.
        words: options of ``run``.
        notes: what this way cannot bring.
    """

    name: str
    why: str
    engine_words: tuple[str, ...]
    words: tuple[str, ...]
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose_way(engine: str, state: EngineState, wanted: Wanted) -> Way:
    """The best way that there is.

    Raises:
        EngineUnavailableError: the engine runs elsewhere, where this host's driver is not.
        SampanError: as ``plan_import``.
    """
    passed_over: dict[str, None] = {}
    for find in (_by_exact_document, _by_own_document, _by_runtime, _by_whole_document):
        found = find(engine, state, wanted)
        if isinstance(found, Way):
            return found._replace(passed_over=tuple(passed_over))
        if found:
            passed_over[found] = None
    return _by_flags(engine, state, wanted)._replace(passed_over=tuple(passed_over))


def _by_exact_document(engine: str, state: EngineState, wanted: Wanted) -> Way | str:
    """By names of the engine's own documents that bring the wanted capabilities and no others."""
    kinds = [f"{KIND}-{word}" for word in wanted.request.capabilities]
    if set(wanted.request.capabilities) == set(CAPABILITIES):
        kinds = [KIND]
    return _by_documents(engine, state, wanted, kinds)


def _by_whole_document(engine: str, state: EngineState, wanted: Wanted) -> Way | str:
    """By names of a document that brings every capability: CDI knows no variables."""
    found = _by_documents(engine, state, wanted, [KIND])
    if isinstance(found, Way):
        more = ", ".join(one for one in CAPABILITIES if one not in wanted.request.capabilities)
        return found._replace(notes=(f"the document brings {more} too",) if more else ())
    return found


def _by_documents(
    engine: str, state: EngineState, wanted: Wanted, kinds: Sequence[str]
) -> Way | str:
    if not state.cdi_directories:
        return f"CDI: {engine} {state.version} resolves no names (CDI is off, or it is too old)"
    if state.elsewhere:
        return f"CDI: the documents of {state.elsewhere} cannot be read"
    if unfit := _unfit_for_documents(wanted):
        return f"CDI: {unfit}"
    devices = collect_devices(load_registry(state.cdi_directories).specs)
    names = [_find_name(devices, kind, part, wanted) for kind in kinds for part in _parts(wanted)]
    if not all(names):
        places = ", ".join(state.cdi_directories)
        return f"CDI: no document in {places} has the GPUs as {' and '.join(kinds)}"
    loaded = {devices.found[name][0].path: devices.found[name][0] for name in names}
    for document in loaded.values():
        if problem := _unfit_document(engine, state, document, wanted.inventory):
            return f"CDI: {problem}"
    words = [word for name in names for word in ("--device", name)]
    if engine == "docker" and not state.rootless:
        # docker (28.5) forgets a document's groups when it sets the container's user.
        words += _groups(devices, names)
    return Way("CDI", f"{', '.join(names)} of {', '.join(loaded)}", (), (*words, *_silenced()))


def _groups(devices: CdiDevices, names: Sequence[str]) -> list[str]:
    gids: dict[int, None] = {}
    for loaded, device in (devices.found[name] for name in names):
        gids |= dict.fromkeys((*loaded.spec.edits.additional_gids, *device.edits.additional_gids))
    return [word for gid in gids for word in ("--group-add", str(gid))]


def _unfit_for_documents(wanted: Wanted) -> str:
    if wanted.request.extras or wanted.request.imex_channels:
        return (
            f"documents of GPUs do not hold {', '.join(wanted.request.extras) or 'IMEX channels'}"
        )
    if not wanted.gpus:
        return "documents have no device without a GPU"
    if wanted.inventory.platform != "discrete":
        return f"on the platform {wanted.inventory.platform} GPUs have no names of their own"
    return ""


class _Part(NamedTuple):
    """A GPU or MIG device: its names in documents, best first, and the nodes that are its own."""

    names: tuple[str, ...]
    nodes: tuple[DeviceNode, ...]


def _parts(wanted: Wanted) -> list[_Part]:
    parts = []
    for gpu in wanted.gpus:
        index = gpu.nvml_index
        if not gpu.mig_enabled:
            parts.append(_Part((gpu.uuid, f"{index}", f"gpu{index}"), gpu.nodes[:1]))
        for mig in gpu.mig_devices:
            names = (mig.uuid, f"{index}:{mig.position}", f"mig{index}:{mig.position}")
            parts.append(_Part(names, mig.nodes))
    return parts


def _find_name(devices: CdiDevices, kind: str, part: _Part, wanted: Wanted) -> str:
    """The first of a part's names that is defined, and means it."""
    for name in part.names:
        found = devices.found.get(f"{kind}={name}")
        if found is not None and _holds(found[1], part.nodes, wanted.inventory):
            return f"{kind}={name}"
    return ""


def _holds(device: CdiDevice, nodes: Sequence[DeviceNode], inventory: Inventory) -> bool:
    """Whether a document's device has these nodes, and of no other GPU one."""
    paths = {node.path for node in device.edits.device_nodes}
    mine = {node.path for node in nodes}
    others = {
        node.path
        for gpu in inventory.gpus
        for part in gpu.mig_devices
        for node in part.nodes
        if node.path not in mine
    }
    return mine <= paths and not paths & others


def _unfit_document(
    engine: str, state: EngineState, loaded: LoadedSpec, inventory: Inventory
) -> str:
    """Why the engine would fail on a document, or it would bring another driver; empty = it is fine."""
    release = ".".join(map(str, state.release))
    if problem := engine_problem(loaded.spec.version, f"{engine}-{release}"):
        return problem
    made_of = read_fingerprint(loaded.path)
    if made_of and made_of != fingerprint_text(inventory):
        return f"{loaded.path} was made of another driver (sudo sampan cdi refresh)"
    missing = [
        one.host_path for one in loaded.spec.edits.mounts if not os.path.exists(one.host_path)
    ]
    missing += [hook.path for hook in loaded.spec.edits.hooks if not os.access(hook.path, os.X_OK)]
    return f"{loaded.path} names {missing[0]}, which is not there" if missing else ""


def _by_own_document(engine: str, state: EngineState, wanted: Wanted) -> Way | str:
    """By a document of our own for this run, where the engine can be told its directory.

    It would have to be told again when the container is started again: hence only for those that
    are removed at their end. Without a hook plain flags bring the same.
    """
    if not state.takes_cdi_directories or state.elsewhere or wanted.request.extras:
        return ""
    hook = locate_hook()
    if not wanted.removed or not hook:
        missing = "sampan-hook is not installed" if wanted.removed else "--rm is not given"
        return f"CDI by a document for this run: {missing}"
    options = CdiOptions(
        vendor=PRIVATE_VENDOR,
        strategies=("index",),
        devices=("all",) if wanted.gpus else ("none",),
        capabilities=wanted.request.capabilities,
        hook=HookChoice(hook),
    )
    made = make_spec(wanted.inventory._replace(gpus=wanted.gpus), options)
    problem = engine_problem(made.spec.version, f"{engine}-{'.'.join(map(str, state.release))}")
    directory = "" if problem else keep_document(made.spec)
    if not directory:
        return f"CDI by a document for this run: {problem or 'there is no home directory for it'}"
    name = f"{made.spec.kind}={'all' if wanted.gpus else 'none'}"
    return Way(
        "CDI",
        f"{name} of {directory}, made for this run",
        ("--cdi-spec-dir", directory),
        ("--device", name, *_silenced()),
    )


def _silenced() -> tuple[str, ...]:
    """No second layer of NVIDIA's, a default runtime for one, is to do it again."""
    return ("--env", f"{VISIBLE}=void")


def _by_runtime(engine: str, state: EngineState, wanted: Wanted) -> Way | str:
    """By a runtime that the engine has and that reads the variables."""
    for known in RUNTIMES:
        for name, path in state.runtimes:
            if known in (name, os.path.basename(path)):
                devices = ",".join(name_devices(wanted.gpus)) or "none"
                capabilities = ",".join(wanted.request.capabilities)
                words = (
                    "--env", f"{VISIBLE}={devices}", "--env", f"{DRIVER_CAPABILITIES}={capabilities}",
                )  # fmt: skip
                why = f"{engine} has the runtime {name}"
                if engine == "podman":
                    return Way("runtime", why, ("--runtime", name), words)
                return Way("runtime", why, (), ("--runtime", name, *words))
    return f"runtime: {engine} has none that imports the driver"


def _by_flags(engine: str, state: EngineState, wanted: Wanted) -> Way:
    """By a flag for each node and file: any release, no configuration."""
    if state.elsewhere:
        raise EngineUnavailableError(
            "this host's driver cannot be mounted into a container on another machine",
            evidence=f"{engine} runs on {state.elsewhere}, without a runtime for GPUs",
            remedy="run sampan on that machine",
        )
    plain = plan_plain(wanted.inventory, wanted.request, wanted.gpus)
    paths, notes = keep_files(plain.files)
    plain = plain._replace(files=tuple(file for file in plain.files if file.path in paths))
    words = render_plain(plain, paths)
    if plain.gids and engine == "podman" and state.rootless:
        # Groups are the user's own there; crun can keep those that he has.
        words += ["--group-add", "keep-groups"]
    elif not state.rootless:
        words += [word for gid in plain.gids for word in ("--group-add", str(gid))]
    return Way(
        "plain flags",
        f"{len(plain.devices)} nodes and {len(plain.mounts) + len(plain.files)} files, one by one",
        (),
        tuple(words),
        notes=(*plain.notes, *notes),
    )
