"""From the user's words to an import plan: request, inventory, selection, requirements, plan.

The rooms driver, gpus and injection do not know each other; every engine and ``sampan explain``
join them here, in one order, so that all refuse the same things with the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sampan.gpus.request import resolve_request
from sampan.model.facts import ImageFacts
from sampan.model.inventory import Gpu, Inventory
from sampan.model.plan import ImportPlan
from sampan.model.request import Request

if TYPE_CHECKING:
    from sampan.engines.leases import Lease
    from sampan.gpus.idle import Candidate


class DriverImport(NamedTuple):
    """What a container gets of the host's driver; without a wish the plan is empty.

    Attributes:
        inventory: None when the host was not looked at, because nothing is wanted.
        leases: of idle GPUs; they end with this process unless somebody keeps them.
        cdi_devices: qualified names that CDI documents answered.
    """

    request: Request
    inventory: Inventory | None
    gpus: tuple[Gpu, ...]
    plan: ImportPlan
    leases: tuple[Lease, ...] = ()
    cdi_devices: tuple[str, ...] = ()


def prepare_import(
    *,
    gpus_option: str | None,
    image_environment: Mapping[str, str],
    user_environment: Mapping[str, str],
    facts: ImageFacts | None,
    privileged: bool = False,
    lease_for: str | None = None,
    find_inventory: Callable[[], Inventory] | None = None,
    cdi_devices: Sequence[str] = (),
    cdi_directories: Sequence[str] = (),
    owner: tuple[int, int] = (0, 0),
) -> DriverImport:
    """Plan the driver import of one container, and what CDI devices of any vendor bring.

    Args:
        gpus_option: text of ``--gpus``; None when not given.
        image_environment: ENV of the image.
        user_environment: ``-e`` and ``--env-file``.
        facts: of the image; None = an image that nobody has seen.
        privileged: whether the user gives the container CAP_SYS_ADMIN.
        lease_for: id of the container that idle GPUs are leased for; None = say which they would
            be, and lease none.
        find_inventory: where the inventory comes from; None = the host's, cached.
        cdi_devices: qualified CDI names, besides those in NVIDIA_VISIBLE_DEVICES.
        cdi_directories: where their documents are; empty = the usual directories.
        owner: uid and gid of the container's user, for nodes of CDI documents.

    Raises:
        SampanError: no driver, no such GPU or device, an unmet requirement, an unsuitable image; each
            with cause, evidence and remedy.
    """
    wish = None
    names = (*cdi_devices, *names_in_variable(gpus_option, user_environment))
    if names:
        from sampan.engines.cdi_import import plan_documented, sort_names

        wish = sort_names(names, cdi_directories)
    checked = check_driver(
        gpus_option=gpus_option,
        image_environment=image_environment,
        user_environment=user_environment,
        privileged=privileged,
        lease_for=lease_for,
        find_inventory=find_inventory,
        named=wish.automatic if wish else (),
    )
    if checked.inventory is None and wish is None:
        return checked
    if facts is None:
        from sampan.injection.neutral import NO_INVENTORY, neutral_facts

        facts = neutral_facts(checked.inventory or NO_INVENTORY)
    plan = checked.plan
    if checked.inventory is not None:
        from sampan.injection.plan import plan_import

        plan = plan_import(checked.inventory, checked.request, facts, checked.gpus)
        plan = plan._replace(warnings=checked.plan.warnings + plan.warnings)
    if wish is not None:
        plan = plan_documented(wish, facts, base=plan, owner=owner)
        checked = checked._replace(cdi_devices=wish.documented)
    return checked._replace(plan=plan)


def names_in_variable(
    gpus_option: str | None, user_environment: Mapping[str, str]
) -> tuple[str, ...]:
    """CDI names among the user's NVIDIA_VISIBLE_DEVICES, which ``--gpus`` overrules."""
    value = user_environment.get("NVIDIA_VISIBLE_DEVICES", "")
    if gpus_option is not None or "=" not in value:
        return ()
    from sampan.gpus.variables import parse_visible_devices

    return parse_visible_devices(value.split(",")).cdi_devices


def check_driver(
    *,
    gpus_option: str | None,
    image_environment: Mapping[str, str],
    user_environment: Mapping[str, str],
    privileged: bool = False,
    lease_for: str | None = None,
    find_inventory: Callable[[], Inventory] | None = None,
    named: Sequence[str] = (),
    honour_image: bool = False,
) -> DriverImport:
    """As ``prepare_import`` up to the plan, which stays empty: for images whose files are not here.

    ``named`` are devices of our own CDI kind that no document answers; ``honour_image`` lets the
    image's own variables ask for GPUs.

    Raises:
        SampanError: no driver, no such GPU, an unmet requirement.
    """
    request = resolve_request(
        gpus_option=gpus_option,
        image_environment=image_environment,
        user_environment=user_environment,
        privileged=privileged,
        named=named,
        honour_image=honour_image,
    )
    if not request.driver:
        return DriverImport(request, None, (), ImportPlan())
    from sampan.driver.absence import require_driver
    from sampan.gpus.requirements import check_requirements
    from sampan.gpus.selection import select_gpus
    from sampan.gpus.variables import notice_gates

    if find_inventory is None:
        from sampan.driver.chosen_roots import chosen_inventory

        find_inventory = chosen_inventory
    inventory = find_inventory()
    require_driver(inventory, wanted_by=request.source)
    leases: tuple[Lease, ...] = ()
    plan = ImportPlan(warnings=notice_gates(user_environment))
    if request.idle_count is not None:
        names, leases, warnings = _take_idle(request, request.idle_count, inventory, lease_for)
        request = request._replace(devices=names)
        plan = ImportPlan(warnings=plan.warnings + warnings)
    gpus = select_gpus(request, inventory)
    check_requirements({**image_environment, **user_environment}, inventory, gpus)
    return DriverImport(request, inventory, gpus, plan, leases)


def _take_idle(
    request: Request, wanted: int, inventory: Inventory, lease_for: str | None
) -> tuple[tuple[str, ...], tuple[Lease, ...], tuple[str, ...]]:
    """Names of the least used GPUs, their leases, and what the user should know of them."""
    from sampan.driver.nvml import NvmlError
    from sampan.driver.usage import read_usage
    from sampan.engines.leases import choose_unleased, lease_idle
    from sampan.gpus.idle import rank_candidates

    warnings: list[str] = []
    try:
        usage = read_usage(inventory)
    except NvmlError as error:
        usage = ()
        warnings.append(
            f"which GPUs are idle is unknown ({error.cause}): the first free ones count"
        )
    candidates = rank_candidates(inventory, usage, wanted=wanted, source=request.source)
    leases: tuple[Lease, ...] = ()
    if lease_for is None:
        names = choose_unleased(candidates, wanted, source=request.source)
    else:
        leases = lease_idle(candidates, wanted, container_id=lease_for, source=request.source)
        names = tuple(lease.gpu for lease in leases)
    warnings += _warn_of_use(candidates, names)
    return names, leases, tuple(warnings)


def _warn_of_use(candidates: Sequence[Candidate], names: Sequence[str]) -> list[str]:
    return [
        f"GPU {candidate.label} is the least used, but not idle: {candidate.usage}"
        for candidate in candidates
        if candidate.name in names and candidate.busy
    ]


def name_devices(gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """What was selected, as the container's record and variables name it: UUIDs where known."""
    names = []
    for gpu in gpus:
        if not gpu.mig_enabled:
            names.append(gpu.uuid or gpu.pci_bus_id)
        names += [
            device.uuid or f"{gpu.nvml_index}:{device.position}" for device in gpu.mig_devices
        ]
    return tuple(names)
