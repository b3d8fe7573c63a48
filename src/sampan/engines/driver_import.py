"""From the user's words to an import plan: request, inventory, selection, requirements, plan.

The rooms driver, gpus and injection do not know each other; every engine and ``sampan explain``
join them here, in one order, so that all refuse the same things with the same words.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sampan.gpus.request import resolve_request
from sampan.model.facts import ImageFacts
from sampan.model.inventory import Gpu, Inventory
from sampan.model.plan import ImportPlan
from sampan.model.request import Request


class DriverImport(NamedTuple):
    """What a container gets of the host's driver; without a wish the plan is empty.

    Attributes:
        inventory: None when the host was not looked at, because nothing is wanted.
    """

    request: Request
    inventory: Inventory | None
    gpus: tuple[Gpu, ...]
    plan: ImportPlan


def prepare_import(
    *,
    gpus_option: str | None,
    image_environment: Mapping[str, str],
    user_environment: Mapping[str, str],
    facts: ImageFacts,
    find_inventory: Callable[[], Inventory] | None = None,
) -> DriverImport:
    """Plan the driver import of one container.

    Args:
        gpus_option: text of ``--gpus``; None when not given.
        image_environment: ENV of the image.
        user_environment: ``-e`` and ``--env-file``.
        facts: of the image.
        find_inventory: where the inventory comes from; None = the host's, cached.

    Raises:
        SampanError: no driver, no such GPU, an unmet requirement, an unsuitable image; each with
            cause, evidence and remedy.
    """
    checked = check_driver(
        gpus_option=gpus_option,
        image_environment=image_environment,
        user_environment=user_environment,
        find_inventory=find_inventory,
    )
    if checked.inventory is None:
        return checked
    from sampan.injection.plan import plan_import

    plan = plan_import(checked.inventory, checked.request, facts, checked.gpus)
    return checked._replace(plan=plan)


def check_driver(
    *,
    gpus_option: str | None,
    image_environment: Mapping[str, str],
    user_environment: Mapping[str, str],
    find_inventory: Callable[[], Inventory] | None = None,
) -> DriverImport:
    """As ``prepare_import`` up to the plan, which stays empty: for images whose files are not here.

    Raises:
        SampanError: no driver, no such GPU, an unmet requirement.
    """
    request = resolve_request(
        gpus_option=gpus_option,
        image_environment=image_environment,
        user_environment=user_environment,
    )
    if not request.driver:
        return DriverImport(request, None, (), ImportPlan())
    from sampan.driver.absence import require_driver
    from sampan.gpus.requirements import check_requirements
    from sampan.gpus.selection import select_gpus

    if find_inventory is None:
        from sampan.driver.cache import current_inventory

        find_inventory = current_inventory
    inventory = find_inventory()
    require_driver(inventory, wanted_by=request.source)
    gpus = select_gpus(request, inventory)
    check_requirements({**image_environment, **user_environment}, inventory, gpus)
    return DriverImport(request, inventory, gpus, ImportPlan())
