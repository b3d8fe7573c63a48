"""All that can be known of an image before it is fetched: registry, catalogue, and this host's driver.

The rooms registry, gpus and driver do not know each other; they are joined here.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sampan.driver.cache import current_inventory
from sampan.engines.host_fit import HostFit, ask_host
from sampan.gpus.requirement_words import (
    brings_compatibility,
    describe_requirements,
    find_cuda_version,
)
from sampan.gpus.requirements import RequirementError
from sampan.images.importer import host_platform
from sampan.model.image import Platform
from sampan.model.inventory import Inventory
from sampan.model.reference import Reference, parse_reference
from sampan.registry.catalogue import open_client
from sampan.registry.details import RemoteImageDetails, read_remote_details
from sampan.registry.failures import RegistryError
from sampan.registry.hub import read_rate_limit
from sampan.registry.ngc_api import open_api
from sampan.registry.ngc_repository import NgcNameError, NgcRepository, find_repository
from sampan.registry.settings import DEFAULT_SETTINGS, NGC, Settings
from sampan.registry.signatures import verify_signatures
from sampan.registry.suggestions import require_tag


class ImageDetails(NamedTuple):
    """An image of a registry, described.

    Attributes:
        cuda: the CUDA that it was built with; empty when it does not say.
        needs: what it demands of the driver, in words; all must hold.
        brings_compatibility: it names forward-compatibility libraries of its own.
        verified: the digest that a key has confirmed; empty when no key was given.
        catalogue: what NGC says of the repository; None elsewhere.
        rate_limit: what the registry still allows, in words; empty without a limit.
        notes: what the user should hear.
    """

    reference: Reference
    remote: RemoteImageDetails
    cuda: str
    needs: tuple[str, ...]
    brings_compatibility: bool
    host: HostFit
    verified: str
    catalogue: NgcRepository | None
    rate_limit: str
    notes: tuple[str, ...]


def describe_image(
    name: str,
    *,
    environment: Mapping[str, str],
    platform: Platform | None = None,
    key: bytes | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    find_inventory: Callable[[], Inventory] = current_inventory,
) -> ImageDetails:
    """Look at an image without fetching it.

    Args:
        name: of an image in a registry.
        environment: variables: credentials, proxies.
        platform: whose configuration is read; None = the host's.
        key: PEM of a public key that its signature is held against; None = it is not.
        settings: patience, trust.
        find_inventory: where the driver's inventory comes from.

    Raises:
        SignatureError: a key was given, and confirms no signature.
        SampanError: there is no such image, or it cannot be looked at.
    """
    require_tag(name, environment, settings)
    reference = parse_reference(name)
    notes: list[str] = []
    client = open_client(reference, environment, settings)
    try:
        remote = read_remote_details(client, reference, platform or host_platform())
        notes += client.notes
        limit = read_rate_limit(client.rate_limit)
    finally:
        client.close()
    verified = ""
    if key is not None:
        verified = verify_signatures(list(remote.signatures), (remote.digest, remote.chosen), key)
    catalogue = None
    if reference.registry == NGC:
        catalogue = _ask_catalogue(reference, environment, settings, notes)
    variables = dict(line.split("=", 1) for line in remote.config.environment if "=" in line)
    needs: tuple[str, ...] = ()
    try:
        needs = describe_requirements(variables)
    except RequirementError as error:
        notes.append(f"{error.cause} ({error.evidence})")
    return ImageDetails(
        reference,
        remote,
        cuda=find_cuda_version(variables),
        needs=needs,
        brings_compatibility=brings_compatibility(variables),
        host=ask_host(variables, find_inventory),
        verified=verified,
        catalogue=catalogue,
        rate_limit=limit.describe() if limit is not None else "",
        notes=tuple(notes),
    )


def _ask_catalogue(
    reference: Reference, environment: Mapping[str, str], settings: Settings, notes: list[str]
) -> NgcRepository | None:
    try:
        with open_api(environment, repository=reference.repository, settings=settings) as api:
            found = find_repository(api, reference.repository)
            notes += api.notes
            return found
    except (RegistryError, NgcNameError) as error:
        notes.append(f"the catalogue tells nothing of it: {error.cause} ({error.evidence})")
        return None
