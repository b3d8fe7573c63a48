"""What can be said of a pull before its first layer: from manifest and configuration alone.

What speaks against the image is an error here, what the user should know a warning. The rooms
registry, images, gpus and driver are joined here and in ``pull``.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sampan.engines.driver_import import check_driver
from sampan.engines.host_fit import HostFit, ask_host
from sampan.gpus.requirement_words import describe_requirements, find_cuda_version
from sampan.gpus.requirements import RequirementError
from sampan.images.catalogue import list_all_names, list_records
from sampan.images.layer_packing import LayerPlan, plan_layers
from sampan.images.room import Room, measure_room, require_room
from sampan.images.store import has_image
from sampan.images.store_layout import StoreLayout
from sampan.model.base_hint import BaseHint, guess_base
from sampan.model.inventory import Inventory
from sampan.model.reference import Reference
from sampan.registry.images import RemoteImage


class PlannedLayer(NamedTuple):
    """A layer of the image and whether it is to be fetched.

    Attributes:
        found_by: ``digest`` or ``diffID`` when its pack is here; empty when it is to be fetched.
        shared_with: names of images here that have it.
    """

    digest: str
    diff_id: str
    size: int
    found_by: str
    shared_with: tuple[str, ...]


class PullPlan(NamedTuple):
    """What a pull will do; nothing was fetched but manifest and configuration.

    Attributes:
        reference: canonical.
        remote: the image.
        digest: the image's id.
        layers: which are there, which are to be fetched, and what that needs.
        each: layer of the image, lowest first.
        is_linked: the image itself is in the store already.
        room: in the store.
        cuda: the CUDA that the image was built with; empty when it does not say.
        requirements: what it demands of the driver, in words; all must hold.
        host: whether this host's driver meets that.
        base: the distribution below it, as far as its configuration tells.
        warnings: for the user.
    """

    reference: Reference
    remote: RemoteImage
    digest: str
    layers: LayerPlan
    each: tuple[PlannedLayer, ...]
    is_linked: bool
    room: Room
    cuda: str
    requirements: tuple[str, ...]
    host: HostFit
    base: BaseHint
    warnings: tuple[str, ...]


def plan_pull(
    reference: Reference,
    remote: RemoteImage,
    store: StoreLayout,
    *,
    compression: str,
    gpus: str | None,
    user_environment: Mapping[str, str],
    find_inventory: Callable[[], Inventory] | None,
) -> PullPlan:
    """Look at everything that can be known, and refuse what cannot work.

    Args:
        reference: canonical.
        remote: its image.
        store: need not exist.
        compression: of the packs.
        gpus: the text of ``--gpus``; None = the image is pulled for whoever will use it.
        user_environment: ``-e`` of the container to come, which may waive requirements.
        find_inventory: where the driver's inventory comes from; None = the host's, cached.

    Raises:
        StoreError: the store has no room.
        SampanError: the driver does not meet what the image demands (with ``gpus``).
    """
    variables = remote.variables
    warnings = list(remote.source.warnings)
    base = guess_base(remote.config)
    host = HostFit("", "", None)
    if gpus is not None:
        check_driver(
            gpus_option=gpus,
            image_environment=variables,
            user_environment=user_environment,
            # Nobody's rights are known here; the run itself asks for them.
            privileged=True,
            find_inventory=find_inventory,
        )
        if base.libc == "musl":
            warnings.append(
                f"the image says that it is built on {base.name}: NVIDIA's driver libraries need "
                "glibc, and sampan run --gpus refuses images with musl"
            )
    requirements: tuple[str, ...] = ()
    try:
        requirements = describe_requirements(variables)
    except RequirementError as error:
        warnings.append(f"{error.cause} ({error.evidence})")
    if requirements:
        host = ask_host({**variables, **user_environment}, find_inventory)
        if host.fits is False:
            warnings.append(
                f"this host's driver {host.driver} does not meet what the image demands "
                f"({host.why_not}): it runs here without --gpus only"
            )
    layers = plan_layers(store, compression, remote.source)
    assert remote.source.config is not None
    digest = f"sha256:{hashlib.sha256(remote.source.config).hexdigest()}"
    is_linked = has_image(store, digest)
    room = measure_room(store)
    if not is_linked:
        require_room(
            store, room, needed_bytes=layers.needed_bytes, needed_files=layers.needed_files
        )
    return PullPlan(
        reference,
        remote,
        digest,
        layers,
        _plan_each(remote, layers, store),
        is_linked,
        room,
        find_cuda_version(variables),
        requirements,
        host,
        base,
        tuple(warnings),
    )


def _plan_each(
    remote: RemoteImage, layers: LayerPlan, store: StoreLayout
) -> tuple[PlannedLayer, ...]:
    names: dict[str, list[str]] = {}
    if layers.found:
        of_image: dict[str, list[str]] = {}
        for name in list_all_names(store):
            of_image.setdefault(name.image, []).append(name.reference.familiar)
        for record in (one for home in store.stack for one in list_records(home)):
            for recorded in record.layers:
                names.setdefault(recorded.pack, []).extend(of_image.get(record.digest, []))
    planned = []
    for key, layer in zip(layers.keys, remote.source.layers, strict=True):
        pack = layers.found.get(key, "")
        found_by = "" if not pack else "digest" if pack == layer.digest else "diffID"
        shared = tuple(dict.fromkeys(names.get(pack, ())))
        planned.append(PlannedLayer(layer.digest, layer.diff_id, layer.size, found_by, shared))
    return tuple(planned)
