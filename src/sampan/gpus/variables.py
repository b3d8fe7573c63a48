"""What the values of the ``NVIDIA_*`` variables mean, whoever set them.

Who is asked first, and whose variables count, is not here: ``request`` says it for our own engine,
``container_request`` for containers that another engine describes. Meanings: field note
nvidia-container-toolkit, 3.1 to 3.4.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sampan.errors import SampanError, UsageError
from sampan.model.inventory import CAPABILITIES

VISIBLE = "NVIDIA_VISIBLE_DEVICES"
DRIVER_CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
DEFAULT_CAPABILITIES: tuple[str, ...] = ("compute", "utility")
AUTOMATIC_KIND = "runtime.nvidia.com/gpu="
"""Devices of this CDI kind stand in no file: the runtime makes their edits itself."""
GATES: dict[str, str] = {
    "NVIDIA_GDRCOPY": "gdrcopy",
    "NVIDIA_GDS": "gds",
    "NVIDIA_MOFED": "mofed",
    "NVIDIA_NVSWITCH": "nvswitch",
}
"""Variables whose only value, ``enabled``, asks for an extra."""
MIG_GATES: dict[str, str] = {
    "NVIDIA_MIG_CONFIG_DEVICES": "mig-config",
    "NVIDIA_MIG_MONITOR_DEVICES": "mig-monitor",
}
EXTRA_VARIABLES: tuple[str, ...] = (*GATES, *MIG_GATES, "NVIDIA_IMEX_CHANNELS")
LARGEST_CHANNEL = (1 << 20) - 1


class CapabilityError(UsageError):
    """A driver capability that does not exist."""

    id = "unknown-capability"


class ImexChannelError(UsageError):
    """A word of NVIDIA_IMEX_CHANNELS that is no channel."""

    id = "imex-channel"


class MigRightsError(SampanError):
    """MIG's configuration or monitoring is asked for wrongly, or without the right to it."""

    id = "mig-rights"


class VisibleDevices(NamedTuple):
    """A parsed device list.

    Attributes:
        driver: False = nothing at all, not even the driver's files, is asked for.
        devices: identifiers, or ``("all",)``; empty = driver files only, when ``driver``.
        cdi_devices: qualified CDI names.
    """

    driver: bool
    devices: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()


class Extras(NamedTuple):
    """What is asked for by name: kinds of ``model.inventory.EXTRA_KINDS``, IMEX channels."""

    kinds: tuple[str, ...]
    imex_channels: tuple[int, ...]


def parse_visible_devices(words: Collection[str]) -> VisibleDevices:
    """The words of NVIDIA_VISIBLE_DEVICES.

    No word, or ``void`` among them, asks for nothing; the first of ``all`` and ``none`` counts for
    the whole list; a CDI name of another kind than AUTOMATIC_KIND does not ask for our driver.
    """
    items = [item.strip() for item in words if item.strip()]
    if not items or "void" in items:
        return VisibleDevices(False)
    own = [item.removeprefix(AUTOMATIC_KIND) for item in items if not _names_cdi_device(item)]
    cdi = tuple(dict.fromkeys(item for item in items if _names_cdi_device(item)))
    if not own:
        return VisibleDevices(False, (), cdi)
    for item in own:
        if item == "all":
            return VisibleDevices(True, ("all",), cdi)
        if item == "none":
            return VisibleDevices(True, (), cdi)
    return VisibleDevices(True, tuple(dict.fromkeys(own)), cdi)


def _names_cdi_device(word: str) -> bool:
    kind, equals, name = word.partition("=")
    return bool(equals and name) and "/" in kind and not word.startswith(AUTOMATIC_KIND)


def is_legacy_image(environment: Mapping[str, str]) -> bool:
    """An image from before NVIDIA_REQUIRE_CUDA: it names its CUDA version only."""
    return bool(environment.get("CUDA_VERSION")) and not environment.get("NVIDIA_REQUIRE_CUDA")


def choose_capabilities(
    value: str | None,
    *,
    legacy: bool,
    source: str = DRIVER_CAPABILITIES,
    supported: Collection[str] = CAPABILITIES,
) -> tuple[str, ...]:
    """Driver capabilities, sorted.

    Args:
        value: comma list; None when nobody set it: all of them for a legacy image.
        legacy: whether the image is one.
        source: who asks, for the message.
        supported: those that the engine's configuration allows.

    Raises:
        CapabilityError: one does not exist, or is not supported.
    """
    words = [word.strip() for word in (value or "").split(",") if word.strip()]
    if value is None and legacy:
        words = ["all"]
    unknown = [word for word in words if word != "all" and word not in supported]
    if unknown:
        raise CapabilityError(
            f"unknown driver capability {', '.join(map(repr, unknown))}",
            evidence=f"asked for by {source}",
            remedy=f"choose from: all, {', '.join(sorted(supported))}",
        )
    if "all" in words:
        return tuple(word for word in CAPABILITIES if word in supported)
    chosen = set(words) or {word for word in DEFAULT_CAPABILITIES if word in supported}
    return tuple(sorted(chosen))


def resolve_extras(environment: Mapping[str, str], *, privileged: bool) -> Extras:
    """What the variables ask for besides GPUs and driver files.

    Args:
        environment: of those whose word counts.
        privileged: whether the container has CAP_SYS_ADMIN in its bounding set.

    Raises:
        MigRightsError: MIG's configuration or monitoring without that right, or not for ``all``.
        ImexChannelError: a word is no channel's number.
    """
    kinds = {kind for name, kind in GATES.items() if environment.get(name) == "enabled"}
    for name, kind in MIG_GATES.items():
        if environment.get(name, "").strip(" ,"):
            _check_mig_gate(name, environment[name], privileged=privileged)
            kinds.add(kind)
    return Extras(
        tuple(sorted(kinds)), parse_imex_channels(environment.get("NVIDIA_IMEX_CHANNELS", ""))
    )


def notice_gates(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What to say of gates with another word than ``enabled``, which ask for nothing."""
    said = ((name, environment.get(name, "")) for name in GATES)
    return tuple(
        f"{name}={value} asks for nothing: the word is {name}=enabled"
        for name, value in said
        if value not in ("", "enabled", "disabled")
    )


def asks_for_all_lists(environment: Mapping[str, str]) -> bool:
    """Whether every CSV list of a Tegra host is meant, not only the base ones."""
    words = environment.get("NVIDIA_REQUIRE_JETPACK", "").replace(",", " ").split()
    return "csv-mounts=all" in words


def parse_imex_channels(value: str) -> tuple[int, ...]:
    """Channel numbers of a comma list, in order; ``all`` means nothing in it.

    Raises:
        ImexChannelError: a word is no number from 0 to LARGEST_CHANNEL.
    """
    channels: dict[int, None] = {}
    for word in (item.strip() for item in value.split(",")):
        if word in ("", "all"):
            continue
        number = int(word) if is_number(word) else LARGEST_CHANNEL + 1
        if number > LARGEST_CHANNEL:
            raise ImexChannelError(
                f"{word!r} is no IMEX channel",
                evidence=f"in NVIDIA_IMEX_CHANNELS={value}",
                remedy=f"name numbers from 0 to {LARGEST_CHANNEL}, e.g. -e NVIDIA_IMEX_CHANNELS=0",
            )
        channels[number] = None
    return tuple(channels)


def is_number(text: str) -> bool:
    """Whether ``text`` is a decimal number that is quickly read: Python refuses 4301 digits."""
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _check_mig_gate(name: str, value: str, *, privileged: bool) -> None:
    if [word.strip() for word in value.split(",") if word.strip()] != ["all"]:
        raise MigRightsError(
            f"{name}={value} cannot be given",
            evidence="MIG is configured and monitored for the whole host",
            remedy=f"-e {name}=all",
        )
    if not privileged:
        raise MigRightsError(
            f"{name} needs a privileged container",
            evidence="the container would not have CAP_SYS_ADMIN",
            remedy="sampan run --cap-add SYS_ADMIN ..., as root",
        )
