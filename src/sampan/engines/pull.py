"""From a name to an image of the store by way of its registry: resolve, preflight, pack, link.

The rooms registry and images do not know each other; they are joined here. Not on the start path:
``sampan run`` comes here only for an image that is missing, or when the registry is to be asked.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from sampan.engines.preflight import PullPlan, plan_pull
from sampan.errors import SampanError
from sampan.images.catalogue import find_record, set_name
from sampan.images.documents import read_config, read_json
from sampan.images.importer import ImportOptions, host_platform, open_for_import, store_image
from sampan.images.layer_packing import ImportEvent, Tell
from sampan.images.limits import LayerError
from sampan.images.store import StoredImage, find_image, locate_image
from sampan.images.store_access import StoreError, create_store
from sampan.images.store_layout import StoreLayout
from sampan.model.facts import FACTS_VERSION
from sampan.model.image import Platform, match_platform
from sampan.model.inventory import Inventory
from sampan.model.reference import ImageNameError, parse_reference
from sampan.model.source import SourceError
from sampan.registry.failures import (
    ForbiddenError,
    NotFoundError,
    RateLimitError,
    RegistryError,
    UnauthorizedError,
)
from sampan.registry.hub import read_rate_limit
from sampan.registry.images import find_remote_image
from sampan.registry.origins import find_origin, open_origin
from sampan.registry.settings import DEFAULT_SETTINGS, Settings
from sampan.registry.shared_clients import shared_client
from sampan.registry.suggestions import require_tag


class PullOptions(NamedTuple):
    """What to pull for whom.

    Attributes:
        platform: None = the host's.
        gpus: the text of ``--gpus``; None = requirements are warnings.
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


def pull_by_policy(
    name: str,
    policy: str,
    *,
    store: StoreLayout,
    environment: Mapping[str, str],
    options: PullOptions | None = None,
    planned: Callable[[PullPlan], None] = lambda _: None,
    progress: Tell = lambda _: None,
) -> StoredImage:
    """An image of the store, pulled where the policy wants it (podman's words).

    Args:
        name: as of ``pull_image``.
        policy: ``always``: it must be what the registry has now; ``newer``: likewise, but an image
            that is here will do when the registry cannot be asked; ``missing``: any image of that
            name will do; ``never``: the registry is not asked.
        store: as of ``pull_image``, and so are the others.
        environment: see there.
        options: see there.
        planned: not called when nothing is pulled; then ``progress`` hears ``current``.
        progress: see there.

    Raises:
        ImageNotFoundError: ``never``, and it is not here.
        SampanError: whatever stands in the way, with its remedy.
    """
    chosen = options or PullOptions()
    if policy == "never":
        return locate_image(name, store=store)
    image = find_image(name, store=store)
    if image is not None and _fits(image, chosen.platform):
        is_current = policy == "missing"
        try:
            is_current = is_current or _is_current(name, image, store, environment, chosen)
        except RegistryError as error:
            if policy != "newer":
                raise
            progress(ImportEvent("warning", f"{error.cause}: the image that is here will do"))
            is_current = True
        if is_current:
            progress(ImportEvent("current", name))
            return _pin(name, image, store, progress)
    return pull_image(
        name,
        store=store,
        environment=environment,
        options=chosen,
        planned=planned,
        progress=progress,
    )


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
    try:
        with open_pull(name, store=store, environment=environment, options=chosen) as plan:
            planned(plan)
            for warning in plan.warnings:
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
    except (RegistryError, LayerError, SourceError) as error:
        # A layer is known for wrong when its last byte has come. Then the registry itself is asked
        # for it; what is whole stays.
        if not _may_be_a_mirrors_fault(error, name, environment, chosen.settings):
            raise
        failure = f"a mirror was passed over: {error.cause} ({error.evidence})"
    progress(ImportEvent("warning", failure))
    return pull_image(
        name,
        store=store,
        environment=environment,
        options=chosen._replace(settings=chosen.settings._replace(past_mirrors=True)),
        planned=planned,
        progress=progress,
    )


def _may_be_a_mirrors_fault(
    error: SampanError, name: str, environment: Mapping[str, str], settings: Settings
) -> bool:
    said_by_registry = (NotFoundError, UnauthorizedError, ForbiddenError, RateLimitError)
    if settings.past_mirrors or isinstance(error, said_by_registry):
        return False
    return bool(find_origin(parse_reference(name), environment, settings).origin.mirrors)


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
        TagMissingError: a repository of nvcr.io without a tag.
        StoreError: the store has no room.
        SampanError: the driver does not meet what the image demands (with ``options.gpus``).
    """
    require_tag(name, environment, options.settings)
    reference = parse_reference(name)
    with open_origin(reference, environment, options.settings) as origin:
        remote = find_remote_image(reference, origin, wanted=options.platform, host=host_platform())
        plan = plan_pull(
            reference,
            remote,
            store,
            compression=options.importing.compression,
            gpus=options.gpus,
            user_environment=options.user_environment,
            find_inventory=options.find_inventory,
        )
        limit = read_rate_limit(shared_client(origin).rate_limit)
        if limit is not None and limit.is_short:
            text = f"{reference.registry} limits pulls: {limit.describe()}"
            plan = plan._replace(warnings=(*plan.warnings, text))
        yield plan


def _pin(name: str, image: StoredImage, store: StoreLayout, progress: Tell) -> StoredImage:
    """Let an image that is asked for by digest have that name, so that it outlives its tag."""
    try:
        reference = parse_reference(name)
    except ImageNameError:
        return image
    if not reference.digest or str(reference) == image.name:
        return image
    try:
        create_store(store)
        return set_name(store, reference, image.digest, reference.digest) or image
    except StoreError as error:
        progress(ImportEvent("warning", f"not pinned: {error.cause} ({error.evidence})"))
        return image


def _fits(image: StoredImage, platform: Platform | None) -> bool:
    found = read_config(image.config_path).platform
    return platform is None or match_platform(platform, found) > 0


def _is_current(
    name: str,
    image: StoredImage,
    store: StoreLayout,
    environment: Mapping[str, str],
    options: PullOptions,
) -> bool:
    """Whether an image of the store is what the registry has: pinned, or by its answer to a HEAD."""
    record = find_record(store, image.digest)
    if record is None or record.facts_version != FACTS_VERSION:
        # Linked by another version of ours: its packs are here, it will be linked anew.
        return False
    try:
        reference = parse_reference(name)
    except ImageNameError:
        return False
    if reference.digest:
        return True
    known = (read_json(store.ref_file(reference)) or {}).get("digest")
    if not known:
        return False
    with open_origin(reference, environment, options.settings) as origin:
        return bool(shared_client(origin).find_digest(reference) == known)
