"""Whether this host's driver meets what an image demands, asked before the image is here."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sampan.driver.absence import list_missing
from sampan.driver.cache import current_inventory
from sampan.errors import SampanError
from sampan.gpus.requirements import RequirementError, check_requirements
from sampan.model.inventory import Inventory


class HostFit(NamedTuple):
    """Whether this host's driver meets what an image demands.

    Attributes:
        driver: version; empty without a driver that could be used.
        cuda: the highest that it supports; empty when unknown.
        fits: None when there is no driver to be asked.
        why_not: the failing terms, in the words of ``sampan run --gpus``.
    """

    driver: str
    cuda: str
    fits: bool | None
    why_not: str = ""


def ask_host(
    variables: Mapping[str, str], find_inventory: Callable[[], Inventory] | None = None
) -> HostFit:
    """Hold an image's variables against the host's driver and all its GPUs.

    Args:
        variables: ENV of the image.
        find_inventory: where the driver's inventory comes from; None = the host's, cached.
    """
    try:
        inventory = (find_inventory or current_inventory)()
    except SampanError:
        return HostFit("", "", None)
    if inventory.platform == "none" or list_missing(inventory):
        return HostFit("", "", None)
    driver = inventory.module_version or inventory.driver_version
    try:
        check_requirements(variables, inventory, inventory.gpus)
    except RequirementError as error:
        return HostFit(driver, inventory.cuda_version, False, error.evidence)
    return HostFit(driver, inventory.cuda_version, True)
