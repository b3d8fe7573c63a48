"""What is wanted of the driver: ``--gpus`` and the ``NVIDIA_*`` variables become a Request.

Precedence: ``--gpus``, then the user's ``-e NVIDIA_VISIBLE_DEVICES``, then the image's where the
caller honours it. A plain ``sampan run`` does not: CUDA images say ``all``, and would then demand
a driver from every machine. Likewise an image alone cannot have MIG configuration, IMEX channels,
RDMA or other extras: those are asked for by the user's variables. Meanings of the values:
``variables``.
"""

from collections.abc import Mapping, Sequence

from sampan.errors import UsageError
from sampan.gpus.option import parse_gpus_option
from sampan.gpus.variables import (
    DRIVER_CAPABILITIES,
    VISIBLE,
    asks_for_all_lists,
    choose_capabilities,
    is_legacy_image,
    parse_visible_devices,
    resolve_extras,
)
from sampan.model.request import Request

OWN_KIND = "nvidia.com/gpu="
NOTHING = Request(False, (), None, (), "")


def resolve_request(
    *,
    gpus_option: str | None,
    image_environment: Mapping[str, str],
    user_environment: Mapping[str, str],
    honour_image: bool = False,
    privileged: bool = False,
    named: Sequence[str] = (),
) -> Request:
    """Combine what the user and the image say.

    Args:
        gpus_option: text of ``--gpus``; None when not given.
        image_environment: ENV of the image.
        user_environment: ``-e`` and ``--env-file``.
        honour_image: whether the image's own variables ask for GPUs and extras.
        privileged: whether the user gives the container CAP_SYS_ADMIN.
        named: devices of our own CDI kind that the user names besides, without the kind: ``0``,
            ``all``. By themselves they bring every capability, as a CDI document does, unless
            NVIDIA_DRIVER_CAPABILITIES says which.

    Raises:
        UsageError: ``--gpus`` or a list of channels cannot be read, or a number of GPUs is wanted
            besides named ones.
        CapabilityError: an unknown capability is asked for.
        MigRightsError: MIG's configuration or monitoring is asked for without the right to it.
    """
    both = {**image_environment, **user_environment}
    wish = _resolve_devices(gpus_option, image_environment, user_environment, honour_image)
    legacy = is_legacy_image(image_environment) or bool(named and not wish.driver)
    if named:
        wish = _add_named(wish, named)
    if not wish.driver:
        return wish
    if not wish.capabilities:
        capabilities = choose_capabilities(both.get(DRIVER_CAPABILITIES), legacy=legacy)
        wish = wish._replace(capabilities=capabilities)
    extras = resolve_extras(both if honour_image else user_environment, privileged=privileged)
    # More of the driver's own files, like a capability: the image may say which.
    lists = ("jetpack",) if asks_for_all_lists(both) else ()
    return wish._replace(
        extras=tuple(sorted((*extras.kinds, *lists))), imex_channels=extras.imex_channels
    )


def _resolve_devices(
    gpus_option: str | None,
    image: Mapping[str, str],
    user: Mapping[str, str],
    honour_image: bool,
) -> Request:
    """The request without extras; without capabilities unless ``--gpus`` names them."""
    if gpus_option is not None:
        return _resolve_option(gpus_option)
    if VISIBLE in user:
        value, source = user[VISIBLE], f"-e {VISIBLE}={user[VISIBLE]}"
    elif not honour_image:
        return NOTHING
    elif VISIBLE in image:
        value, source = image[VISIBLE], f"{VISIBLE}={image[VISIBLE]} (image)"
    elif is_legacy_image(image):
        value, source = "all", "CUDA_VERSION (image)"
    else:
        return NOTHING
    visible = parse_visible_devices(value.split(","))
    return Request(
        visible.driver, visible.devices, None, (), source, cdi_devices=visible.cdi_devices
    )


def _add_named(wish: Request, named: Sequence[str]) -> Request:
    source = f"--device {', '.join(f'{OWN_KIND}{name}' for name in named)}"
    if wish.gpu_count is not None or wish.idle_count is not None:
        raise UsageError(
            "a number of GPUs and GPUs by name are wanted",
            evidence=f"{wish.source} and {source}",
            remedy="name them all: --gpus device=0,1",
        )
    devices = (*wish.devices, *(name for name in named if name != "none"))
    return Request(
        driver=True,
        devices=("all",) if "all" in devices else tuple(dict.fromkeys(devices)),
        gpu_count=None,
        capabilities=wish.capabilities,
        source=f"{wish.source} and {source}" if wish.driver else source,
        cdi_devices=wish.cdi_devices,
    )


def _resolve_option(text: str) -> Request:
    option = parse_gpus_option(text)
    source = f"--gpus {text}"
    if option.gpu_count == 0:
        return NOTHING._replace(source=source)
    capabilities: tuple[str, ...] = ()
    if option.capabilities:
        capabilities = choose_capabilities(
            ",".join(option.capabilities), legacy=False, source=source
        )
    everything = option.gpu_count == -1
    return Request(
        driver=True,
        devices=("all",) if everything else option.devices,
        gpu_count=None if everything else option.gpu_count,
        capabilities=capabilities,
        source=source,
        idle_count=option.idle_count,
    )
