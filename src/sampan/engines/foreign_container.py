"""The plan for a container that another engine describes: a wish becomes a piece of ``config.json``.

``sampan-runtime`` asks for it, in a process of its own, when it has no plan for the same wish that
still holds. The image's files are unknown here. So what depends on them is said to ``sampan-hook`` in
one hook entry, and files of the driver lie on a small file system of their own, to which links lead:
a file mounted where the image has none would leave an empty one in the container's layer, and
``docker commit`` would put it into the next image.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sampan.driver.absence import require_driver
from sampan.driver.cache import current_inventory
from sampan.driver.cdi_files import SPEC_DIRECTORIES
from sampan.driver.watched import list_watched
from sampan.engines.cdi_import import CdiWish, sort_names
from sampan.engines.foreign_documents import plan_documents
from sampan.errors import InternalError, SampanError
from sampan.gpus.container_request import RequestSettings, resolve_container_request
from sampan.gpus.requirements import check_requirements
from sampan.gpus.selection import select_gpus
from sampan.gpus.variables import DRIVER_CAPABILITIES, choose_capabilities, is_legacy_image
from sampan.injection.cdi_hooks import render_rest
from sampan.injection.cdi_jobs import JOBS, HookChoice
from sampan.injection.neutral import neutral_facts
from sampan.injection.oci import apply_plan
from sampan.injection.plan import plan_import
from sampan.injection.shelf import shelve_files
from sampan.kernel.atomic import write_atomic
from sampan.kernel.freshness import CONTENT, IDENTITY, NODES, TREE, take_marks
from sampan.model.hook import ENVIRONMENT, STAGE, parse_hook_arguments, render_hook_arguments
from sampan.model.inventory import Inventory
from sampan.model.plan import ImportPlan, PlannedHook
from sampan.model.request import Request

MAXIMUM_PLANS = 256
_NODE_DIRECTORIES: tuple[tuple[str, ...], ...] = (
    ("/dev", "dxg", "gdrdrv", "host1x-fence", "nvhost-", "nvidia", "nvmap", "nvsciipc"),
    ("/dev/dri", "card", "renderD"),
    ("/dev/nvidia-caps", "nvidia-cap"),
    ("/dev/infiniband", "rdma_cm", "uverbs"),
)


class ForeignPlan(NamedTuple):
    """What one wish gets.

    Attributes:
        fragment: members of an OCI configuration; None when nothing is given.
        watches: what was looked at (``kernel.freshness``).
        lasting: whether the plan may be used again; not when NVML has not described every GPU.
    """

    fragment: dict[str, Any] | None
    warnings: tuple[str, ...] = ()
    watches: tuple[tuple[str, ...], ...] = ()
    lasting: bool = True


def program() -> None:
    """Answer the message on standard input: ``sampan-runtime``'s planner."""
    message = json.loads(sys.stdin.buffer.read())
    try:
        answer = _answer(message)
    except SampanError as error:
        answer = {"error": [error.id, error.cause, error.evidence, error.remedy]}
    except Exception as error:
        bug = InternalError(f"{type(error).__name__}: {error}", remedy="report this as a bug")
        answer = {"error": [bug.id, bug.cause, bug.evidence, bug.remedy]}
    sys.stdout.write(json.dumps(answer))


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    found = plan_container(message["wish"], message["settings"], message["cache"])
    plan = {"fragment": found.fragment, "warnings": list(found.warnings)}
    if message["path"] and found.lasting:
        watches = [list(watch) for watch in found.watches]
        document = {
            "key": message["key"],
            "watches": watches,
            "marks": take_marks(watches),
            "plan": plan,
        }
        _keep(Path(message["path"]), json.dumps(document).encode())
    return plan


def plan_container(wish: dict[str, Any], settings: dict[str, Any], cache: str) -> ForeignPlan:
    """Plan one container.

    Args:
        wish: from ``dropin.wish.read_wish``.
        settings: from ``dropin.settings``, with ``hook``, the installed program, and ``rootless``.
        cache: directory for the inventory; empty = none.

    Raises:
        SampanError: what is asked for cannot be given.
    """
    asked = resolve_container_request(
        environment=wish["environment"],
        annotations=wish["annotations"],
        mounts=[(source, destination) for source, destination in wish["mounts"]],
        bounding=("CAP_SYS_ADMIN",) if wish["privileged"] else (),
        settings=_request_settings(settings),
        annotations_of_images=wish["libpod"],
    )
    request = asked.request
    directories = tuple(settings["spec_dirs"]) or SPEC_DIRECTORIES
    named: CdiWish | None = None
    if request.cdi_devices:
        named = sort_names(request.cdi_devices, directories)
        request = _with_automatic(request, named, wish, settings)
    warnings = asked.warnings
    watches: list[tuple[str, ...]] = []
    plan = ImportPlan()
    lasting = True
    if request.driver:
        inventory = _take_inventory(settings, cache)
        require_driver(inventory, wanted_by=request.source)
        plan = _plan_driver(inventory, request, wish, settings)
        watches += list_watches(inventory, settings)
        lasting = inventory.platform != "discrete" or all(
            gpu.architecture for gpu in inventory.gpus
        )
    if named is not None:
        watches += _watch_documents(directories)
        if named.documented:
            plan = plan_documents(named, plan, hook=settings["hook"], owner=tuple(wish["owner"]))
    if plan == ImportPlan():
        return ForeignPlan(None, warnings, tuple(watches), lasting)
    in_namespace = wish["user_namespace"] or settings["rootless"]
    if plan.additional_gids and (in_namespace or settings["no_gids"]):
        if not settings["no_gids"]:
            groups = ", ".join(map(str, plan.additional_gids))
            warnings += (f"groups {groups} are left out: a user namespace need not have them",)
        plan = plan._replace(additional_gids=())
    elsewhere = any(device.host_path != device.path for device in plan.devices)
    fragment = apply_plan({}, plan, bind_devices=in_namespace and elsewhere)
    return ForeignPlan(
        _without_empty(fragment), (*warnings, *plan.warnings), tuple(watches), lasting
    )


def _request_settings(settings: dict[str, Any]) -> RequestSettings:
    return RequestSettings(
        annotation_prefixes=tuple(settings["annotation_prefixes"]),
        accept_mounts=settings["accept_mounts"],
        accept_unprivileged=settings["accept_unprivileged"],
        swarm_resources=tuple(settings["swarm"]),
        supported_capabilities=tuple(settings["supported"]),
        ignore_imex=settings["ignore_imex"],
    )


def _with_automatic(
    request: Request, named: CdiWish, wish: dict[str, Any], settings: dict[str, Any]
) -> Request:
    """The request with devices of our own CDI kind that no document answers."""
    if not named.automatic:
        return request
    environment = wish["environment"]
    devices = tuple(dict.fromkeys((*request.devices, *named.automatic)))
    return request._replace(
        driver=True,
        devices=("all",) if "all" in devices else devices,
        capabilities=request.capabilities
        or choose_capabilities(
            environment.get(DRIVER_CAPABILITIES),
            legacy=is_legacy_image(environment),
            supported=tuple(settings["supported"]),
        ),
    )


def _take_inventory(settings: dict[str, Any], cache: str) -> Inventory:
    words = dict(word.partition("=")[::2] for word in settings["environment"])
    root = settings["driver_root"].rstrip("/") or "/"
    return current_inventory(
        root,
        locate_dev_root(settings),
        mps_directory=words.get("CUDA_MPS_PIPE_DIRECTORY", ""),
        proc_root=settings["proc_root"],
        sys_root=settings["sys_root"],
        environment={"XDG_CACHE_HOME": cache} if cache else {},
    )


def locate_dev_root(settings: dict[str, Any]) -> str:
    """Where ``dev`` is: as configured, else the driver root if it has one, as NVIDIA's tools do."""
    root = settings["driver_root"].rstrip("/") or "/"
    if settings["dev_root"]:
        return str(settings["dev_root"])
    return root if os.path.isdir(f"{root}/dev") else "/"


def _plan_driver(
    inventory: Inventory, request: Request, wish: dict[str, Any], settings: dict[str, Any]
) -> ImportPlan:
    gpus = select_gpus(request, inventory)
    if not settings["disable_require"]:
        check_requirements(wish["environment"], inventory, gpus)
    plan = plan_import(inventory, request, neutral_facts(inventory), gpus)
    disabled = set(settings["disabled_hooks"])
    off = JOBS if "all" in disabled else tuple(job for job in JOBS if job in disabled)
    if settings["no_compat"]:
        off = (*off, "enable-cuda-compat")
    rest = render_rest(plan, inventory, HookChoice(settings["hook"], disabled=off))
    mounts = [one for one in plan.mounts if not one.container_path.startswith("/proc/")]
    hooks = [parse_hook_arguments(hook.args) for hook in rest.hooks]
    shelved = shelve_files(mounts, hooks[0] if hooks else None, _list_directories(mounts))
    nodes = {device.path: device for device in plan.devices}
    for link in plan.links:
        target = nodes.get(f"/dev/dri/{link.target.rpartition('/')[2]}")
        if link.path.startswith("/dev/dri/") and target is not None:
            # A link would be one more thing for the hook; a node is the engine's.
            nodes[link.path] = target._replace(path=link.path)
    entries: tuple[PlannedHook, ...] = ()
    if shelved.request is not None:
        words = render_hook_arguments(shelved.request)
        entries = (PlannedHook(STAGE, settings["hook"], words, ENVIRONMENT),)
    return plan._replace(
        mounts=shelved.mounts,
        devices=tuple(nodes.values()),
        links=(),
        files=(),
        hooks=entries,
        reasons=(),
        warnings=tuple(text for text in plan.warnings if not text.startswith("the image ")),
    )


def _list_directories(mounts: Sequence[Any]) -> set[str]:
    return {mount.host_path for mount in mounts if os.path.isdir(mount.host_path)}


def list_watches(inventory: Inventory, settings: dict[str, Any]) -> list[tuple[str, ...]]:
    """All that the inventory was made from, for ``kernel.freshness``."""
    proc = f"{settings['proc_root']}/driver/nvidia"
    dev = inventory.dev_root.rstrip("/")
    watches: list[tuple[str, ...]] = [
        (CONTENT, f"{settings['proc_root']}/sys/kernel/random/boot_id"),
        (CONTENT, f"{proc}/version"),
        (CONTENT, f"{proc}/params"),
        (TREE, f"{proc}/capabilities"),
    ]
    try:
        buses = sorted(os.listdir(f"{proc}/gpus"))
    except OSError:
        buses = []
    watches.append((IDENTITY, f"{proc}/gpus"))
    watches += [(CONTENT, f"{proc}/gpus/{bus}/information") for bus in buses]
    watches += [(NODES, dev + directory, *names) for directory, *names in _NODE_DIRECTORIES]
    for directory in ("/dev/dri/by-path", "/dev/nvgpu", "/dev/nvidia-caps-imex-channels"):
        watches.append((IDENTITY, dev + directory))
    machine = os.uname().machine
    watches += [(IDENTITY, path) for path in list_watched(inventory, machine)]
    return watches


def _watch_documents(directories: Sequence[str]) -> list[tuple[str, ...]]:
    watches: list[tuple[str, ...]] = []
    for directory in directories:
        watches.append((IDENTITY, directory))
        try:
            names = sorted(os.listdir(directory))[:1000]
        except OSError:
            continue
        watches += [(IDENTITY, f"{directory}/{name}") for name in names]
    return watches


def _without_empty(fragment: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_empty(value) if isinstance(value, dict) else value
        for name, value in fragment.items()
        if value
    }


def _keep(path: Path, content: bytes) -> None:
    try:
        plans = sorted(path.parent.glob("plan-*.json"), key=lambda one: one.stat().st_mtime)
        for old in plans[: max(0, len(plans) - MAXIMUM_PLANS)]:
            old.unlink(missing_ok=True)
        write_atomic(path, content, 0o600)
    except OSError:
        # The next container asks again.
        return
