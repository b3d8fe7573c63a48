"""The request of a container that another engine describes in its ``config.json``.

The engine has merged the image's and the user's variables, so nobody can tell them apart here; what
counts instead is the site's settings. The first that says anything decides: CDI annotations, then
volume mounts, then the environment (field note nvidia-container-toolkit, 3.1).
"""

import posixpath
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sampan.gpus.request import NOTHING
from sampan.gpus.variables import (
    DRIVER_CAPABILITIES,
    EXTRA_VARIABLES,
    VISIBLE,
    VisibleDevices,
    asks_for_all_lists,
    choose_capabilities,
    is_legacy_image,
    parse_imex_channels,
    parse_visible_devices,
    resolve_extras,
)
from sampan.model.inventory import CAPABILITIES
from sampan.model.request import Request

MOUNT_ROOT = "/var/run/nvidia-container-devices"
MOUNT_SOURCE = "/dev/null"


class RequestSettings(NamedTuple):
    """What the site lets containers ask for; defaults and names are those of NVIDIA's toolkit.

    Attributes:
        annotation_prefixes: of the annotations that may name CDI devices; empty = none may.
        accept_mounts: ``accept-nvidia-visible-devices-as-volume-mounts``.
        accept_unprivileged: ``accept-nvidia-visible-devices-envvar-when-unprivileged``.
        swarm_resources: variables that replace NVIDIA_VISIBLE_DEVICES where one of them is set.
        supported_capabilities: ``supported-driver-capabilities``.
        ignore_imex: ``ignore-imex-channel-requests``.
    """

    annotation_prefixes: tuple[str, ...] = ("cdi.k8s.io/",)
    accept_mounts: bool = False
    accept_unprivileged: bool = True
    swarm_resources: tuple[str, ...] = ()
    supported_capabilities: tuple[str, ...] = CAPABILITIES
    ignore_imex: bool = False


DEFAULTS = RequestSettings()


class MountedWishes(NamedTuple):
    """What volume mounts below MOUNT_ROOT name; ``destinations`` are those mounts themselves."""

    devices: tuple[str, ...]
    imex_channels: tuple[str, ...]
    destinations: tuple[str, ...]


class ContainerRequest(NamedTuple):
    """``warnings`` tell what was asked for and is not given."""

    request: Request
    warnings: tuple[str, ...] = ()


def resolve_container_request(
    *,
    environment: Mapping[str, str],
    annotations: Mapping[str, str],
    mounts: Sequence[tuple[str, str]],
    bounding: Collection[str],
    settings: RequestSettings = DEFAULTS,
    annotations_of_images: bool = False,
) -> ContainerRequest:
    """What a container asks for.

    Args:
        environment: ``process.env``.
        annotations: of the container.
        mounts: source and destination of each.
        bounding: names of the bounding set, e.g. ``CAP_SYS_ADMIN``.
        settings: of the site.
        annotations_of_images: whether the engine hands on those of images, as podman does; then they
            count where the image's variables do.

    Raises:
        CapabilityError: an unknown or unsupported capability is asked for.
        ImexChannelError: a channel is no number.
        MigRightsError: MIG's configuration or monitoring without the right to it.
    """
    privileged = is_privileged(bounding)
    mounted = mounted_wishes(mounts) if settings.accept_mounts else MountedWishes((), (), ())
    believed = privileged or settings.accept_unprivileged
    notes: tuple[str, ...] = ()
    if annotations_of_images and not believed:
        if annotated_devices(annotations, settings.annotation_prefixes):
            notes = (_ignored("what the container's annotations ask for"),)
        annotations = {}
    visible, source, warnings = _find_devices(
        environment, annotations, mounted, settings, believed=believed
    )
    warnings = (*notes, *warnings)
    if not visible.driver:
        request = NOTHING._replace(source=source, cdi_devices=visible.cdi_devices)
        return ContainerRequest(request, warnings)
    asking = [name for name in EXTRA_VARIABLES if environment.get(name, "").strip(" ,")]
    if asking and not believed:
        warnings += (_ignored(", ".join(asking)),)
        environment = {name: environment[name] for name in environment if name not in asking}
    extras = resolve_extras(environment, privileged=privileged)
    channels = extras.imex_channels
    if mounted.imex_channels:
        channels = parse_imex_channels(",".join(mounted.imex_channels))
    kinds = (*extras.kinds, *(("jetpack",) if asks_for_all_lists(environment) else ()))
    request = Request(
        driver=True,
        devices=visible.devices,
        gpu_count=None,
        capabilities=choose_capabilities(
            environment.get(DRIVER_CAPABILITIES),
            legacy=is_legacy_image(environment),
            supported=settings.supported_capabilities,
        ),
        source=source,
        extras=tuple(sorted(kinds)),
        imex_channels=() if settings.ignore_imex else channels,
        cdi_devices=visible.cdi_devices,
    )
    return ContainerRequest(request, warnings)


def _find_devices(
    environment: Mapping[str, str],
    annotations: Mapping[str, str],
    mounted: MountedWishes,
    settings: RequestSettings,
    *,
    believed: bool,
) -> tuple[VisibleDevices, str, tuple[str, ...]]:
    annotated = annotated_devices(annotations, settings.annotation_prefixes)
    if annotated:
        return parse_visible_devices(annotated), "annotations of the container", ()
    if mounted.devices:
        return parse_visible_devices(mounted.devices), f"volume mounts below {MOUNT_ROOT}", ()
    words, source = environment_devices(environment, settings.swarm_resources)
    visible = parse_visible_devices(words)
    if (visible.driver or visible.cdi_devices) and not believed:
        return VisibleDevices(False), source, (_ignored(source),)
    return visible, source, ()


def _ignored(what: str) -> str:
    return (
        f"{what} is ignored: the container is not privileged, and this site's"
        " accept-nvidia-visible-devices-envvar-when-unprivileged is false"
    )


def annotated_devices(
    annotations: Mapping[str, str], prefixes: Sequence[str] = ("cdi.k8s.io/",)
) -> tuple[str, ...]:
    """CDI names in annotations whose key has one of the prefixes: keys sorted, comma lists."""
    names: dict[str, None] = {}
    for key in sorted(annotations):
        if key.startswith(tuple(prefixes)):
            words = (word.strip() for word in annotations[key].split(","))
            names.update((word, None) for word in words if word)
    return tuple(names)


def mounted_wishes(mounts: Sequence[tuple[str, str]]) -> MountedWishes:
    """Devices and channels named by mounts of ``/dev/null`` below MOUNT_ROOT.

    ``<id>``, ``cdi/<vendor>/<class>/<device>``, ``cdi/<vendor>/<class>=<device>``,
    ``imex/<channel>``.
    """
    devices: dict[str, None] = {}
    channels: dict[str, None] = {}
    destinations = []
    for source, destination in mounts:
        path = posixpath.normpath(destination)
        if source != MOUNT_SOURCE or not path.startswith(f"{MOUNT_ROOT}/"):
            continue
        parts = path.removeprefix(f"{MOUNT_ROOT}/").split("/")
        destinations.append(destination)
        if parts[0] == "imex" and len(parts) == 2:
            channels[parts[1]] = None
        elif parts[0] == "cdi" and len(parts) == 4:
            devices[f"{parts[1]}/{parts[2]}={parts[3]}"] = None
        elif parts[0] == "cdi" and len(parts) == 3 and "=" in parts[2]:
            devices[f"{parts[1]}/{parts[2]}"] = None
        else:
            # MIG's old names hold slashes themselves.
            devices["/".join(parts)] = None
    return MountedWishes(tuple(devices), tuple(channels), tuple(destinations))


def environment_devices(
    environment: Mapping[str, str], swarm_resources: Sequence[str] = ()
) -> tuple[tuple[str, ...], str]:
    """Words of the device list in the environment, and the variable they come from."""
    named = [name for name in swarm_resources if name in environment]
    if named:
        words = [word for name in named for word in environment[name].split(",")]
        return tuple(words), ",".join(named)
    if VISIBLE in environment:
        return tuple(environment[VISIBLE].split(",")), f"{VISIBLE}={environment[VISIBLE]}"
    return (("all",), "CUDA_VERSION") if is_legacy_image(environment) else ((), "")


def is_privileged(bounding: Collection[str]) -> bool:
    """Whether a container with this bounding set counts as privileged."""
    return "CAP_SYS_ADMIN" in bounding
