"""From a name to an image of the store by way of its registry: resolve, preflight, pack, link.

The rooms registry and images do not know each other; they are joined here. Everything that speaks
against an image and can be known from its manifest and configuration is said before its first
layer is fetched. Not on the start path: ``sampan run`` comes here only for an image that is missing.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sampan.engines.driver_import import check_driver
from sampan.images.importer import ImportOptions, host_platform, open_for_import, store_image
from sampan.images.layer_packing import ImportEvent, LayerPlan, Tell, plan_layers
from sampan.images.store import StoredImage, has_image
from sampan.images.store_access import free_bytes, require_space
from sampan.images.store_layout import StoreLayout
from sampan.model.image import Platform
from sampan.model.inventory import Inventory
from sampan.model.reference import Reference, parse_reference
from sampan.registry.client import close_client
from sampan.registry.failures import UnauthorizedError
from sampan.registry.images import RemoteImage, find_remote_image
from sampan.registry.origins import find_origin
from sampan.registry.settings import DEFAULT_SETTINGS, Settings


class PullOptions(NamedTuple):
    """What to pull for whom.

    Attributes:
        platform: None = the host's.
        gpus: the text of ``--gpus``; None = the driver is not looked at.
        user_environment: ``-e`` of the container to come, which may waive requirements.
        importing: compression, limits and processes; its platform is not looked at.
        settings: patience and trust of the registry client.
        find_inventory: where the driver's inventory comes from; None = the host's, cached.
    """

    platform: Platform | None = None
    gpus: str | None = None
    user_environment: Mapping[str, str] = {}
    importing: ImportOptions = ImportOptions()
    settings: Settings = DEFAULT_SETTINGS
    find_inventory: Callable[[], Inventory] | None = None


class PullPlan(NamedTuple):
    """What a pull will do; nothing was fetched but manifest and configuration.

    Attributes:
        reference: canonical.
        remote: the image.
        layers: which are there, which are to be fetched, and what that needs.
        is_linked: the image itself is in the store already.
        free_bytes: on the store's file system.
    """

    reference: Reference
    remote: RemoteImage
    layers: LayerPlan
    is_linked: bool
    free_bytes: int


def pull_image(
    name: str,
    *,
    store: StoreLayout,
    environment: Mapping[str, str],
    options: PullOptions | None = None,
    planned: Callable[[PullPlan], None] = lambda _: None,
    progress: Tell = lambda _: None,
) -> StoredImage:
    """Fetch an image and make it runnable; what is there already is not fetched.

    Args:
        name: in docker's grammar, with a digest if wanted.
        store: created when it does not exist.
        environment: variables: credentials, proxies, homes.
        options: defaults when None.
        planned: hears the plan before the first layer is fetched.
        progress: called now and then, by this thread.

    Raises:
        SampanError: whatever stands in the way, with its remedy.
    """
    chosen = options or PullOptions()
    with open_pull(name, store=store, environment=environment, options=chosen) as plan:
        planned(plan)
        for warning in plan.remote.source.warnings:
            progress(ImportEvent("warning", warning))
        with open_for_import(store):
            return store_image(
                plan.remote.source,
                f"docker://{plan.reference}",
                plan.reference,
                store=store,
                options=chosen.importing,
                progress=progress,
            )


@contextlib.contextmanager
def open_pull(
    name: str,
    *,
    store: StoreLayout,
    environment: Mapping[str, str],
    options: PullOptions,
) -> Iterator[PullPlan]:
    """The plan of a pull, checked; the connections last as long as the context.

    Raises:
        RegistryError: the registry cannot be asked, or has no such image.
        SourceError: no image for the platform, or a malformed one.
        StoreError: the store has no room.
        SampanError: the driver does not meet what the image demands (with ``options.gpus``).
    """
    reference = parse_reference(name)
    origin, problems = find_origin(reference, environment, options.settings)
    try:
        try:
            remote = find_remote_image(
                reference, origin, wanted=options.platform, host=host_platform()
            )
        except UnauthorizedError as error:
            if problems:
                error.evidence = "; ".join((error.evidence, *problems))
            raise
        if options.gpus is not None:
            check_driver(
                gpus_option=options.gpus,
                image_environment=dict(
                    line.split("=", 1) for line in remote.environment if "=" in line
                ),
                user_environment=options.user_environment,
                find_inventory=options.find_inventory,
            )
        yield _plan(reference, remote, store, options.importing.compression)
    finally:
        close_client(origin)


def _plan(
    reference: Reference, remote: RemoteImage, store: StoreLayout, compression: str
) -> PullPlan:
    layers = plan_layers(store, compression, remote.source)
    assert remote.source.config is not None
    digest = f"sha256:{hashlib.sha256(remote.source.config).hexdigest()}"
    is_linked = has_image(store, digest)
    if not is_linked:
        require_space(store, layers.needed_bytes)
    return PullPlan(reference, remote, layers, is_linked, free_bytes(store))
