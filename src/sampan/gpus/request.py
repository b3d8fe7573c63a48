"""What is wanted of the driver: ``--gpus`` and the ``NVIDIA_*`` variables become a Request.

Precedence: ``--gpus``, then the user's ``-e NVIDIA_VISIBLE_DEVICES``, then the image's where the
caller honours it. A plain ``sampan run`` does not: CUDA images say ``all``, and would then demand
a driver from every machine. Meanings of the values: field note nvidia-container-toolkit, 3.1, 3.2.
"""

from collections.abc import Mapping

from sampan.errors import UsageError
from sampan.gpus.option import parse_gpus_option
from sampan.model.inventory import CAPABILITIES
from sampan.model.request import Request

DEFAULT_CAPABILITIES: tuple[str, ...] = ("compute", "utility")
NOTHING = Request(False, (), None, (), "")


class CapabilityError(UsageError):
    """A driver capability that does not exist."""

    id = "unknown-capability"


def resolve_request(
    *,
    gpus_option: str | None,
    image_environment: Mapping[str, str],
    user_environment: Mapping[str, str],
    honour_image: bool = False,
) -> Request:
    """Combine what the user and the image say.

    Args:
        gpus_option: text of ``--gpus``; None when not given.
        image_environment: ENV of the image.
        user_environment: ``-e`` and ``--env-file``.
        honour_image: whether the image's own NVIDIA_VISIBLE_DEVICES asks for GPUs.

    Raises:
        UsageError: ``--gpus`` cannot be read.
        CapabilityError: an unknown capability is asked for.
    """
    legacy = is_legacy_image(image_environment)
    if gpus_option is not None:
        option = parse_gpus_option(gpus_option)
        if option.gpu_count == 0:
            return NOTHING._replace(source=f"--gpus {gpus_option}")
        capabilities = _expand(
            option.capabilities or _said_capabilities(image_environment, user_environment, legacy),
            f"--gpus {gpus_option}" if option.capabilities else "NVIDIA_DRIVER_CAPABILITIES",
        )
        everything = option.gpu_count == -1
        return Request(
            driver=True,
            devices=("all",) if everything else option.devices,
            gpu_count=None if everything else option.gpu_count,
            capabilities=capabilities,
            source=f"--gpus {gpus_option}",
        )
    value, source = _visible_devices(image_environment, user_environment, honour_image, legacy)
    devices = _parse_devices(value) if value is not None else None
    if devices is None:
        return NOTHING._replace(source=source)
    capabilities = _expand(
        _said_capabilities(image_environment, user_environment, legacy),
        "NVIDIA_DRIVER_CAPABILITIES",
    )
    return Request(True, devices, None, capabilities, source)


def is_legacy_image(environment: Mapping[str, str]) -> bool:
    """An image from before NVIDIA_REQUIRE_CUDA: it names its CUDA version only."""
    return bool(environment.get("CUDA_VERSION")) and not environment.get("NVIDIA_REQUIRE_CUDA")


def _visible_devices(
    image: Mapping[str, str], user: Mapping[str, str], honour_image: bool, legacy: bool
) -> tuple[str | None, str]:
    name = "NVIDIA_VISIBLE_DEVICES"
    if name in user:
        return user[name], f"-e {name}={user[name]}"
    if not honour_image:
        return None, ""
    if name in image:
        return image[name], f"{name}={image[name]} (image)"
    return ("all", "CUDA_VERSION (image)") if legacy else (None, "")


def _parse_devices(value: str) -> tuple[str, ...] | None:
    """Identifiers; empty for ``none``; None where nothing at all is to be imported."""
    items = [item.strip() for item in value.split(",") if item.strip()]
    if not items or "void" in items:
        return None
    for item in items:
        if item == "all":
            return ("all",)
        if item == "none":
            return ()
    return tuple(items)


def _said_capabilities(
    image: Mapping[str, str], user: Mapping[str, str], legacy: bool
) -> tuple[str, ...]:
    name = "NVIDIA_DRIVER_CAPABILITIES"
    value = user.get(name, image.get(name))
    if value is None and legacy:
        return ("all",)
    words = tuple(word.strip() for word in (value or "").split(",") if word.strip())
    return words or DEFAULT_CAPABILITIES


def _expand(words: tuple[str, ...], source: str) -> tuple[str, ...]:
    unknown = [word for word in words if word != "all" and word not in CAPABILITIES]
    if unknown:
        raise CapabilityError(
            f"unknown driver capability {', '.join(map(repr, unknown))}",
            evidence=f"asked for by {source}",
            remedy=f"choose from: all, {', '.join(CAPABILITIES)}",
        )
    return CAPABILITIES if "all" in words else tuple(sorted(set(words)))
