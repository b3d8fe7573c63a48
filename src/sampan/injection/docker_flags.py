"""A plan as plain flags of ``docker run`` and ``podman run``, which every release of both has.

Pure: nothing here looks at a machine. The image is one that nobody has seen, as for CDI documents
without a hook: libraries go under each of their names into the directories where the loaders of
Debian's and Red Hat's kind of image look by themselves. What must be made in the container (links
below /dev, the loader cache, forward compatibility, ``/proc/driver/nvidia/params``) cannot be had.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sampan.injection.cdi_generate import facts_of_any_image, mounts_of_any_image
from sampan.injection.cdi_hooks import LOADER_CACHE, render_rest
from sampan.injection.cdi_jobs import HookChoice
from sampan.injection.mount_words import render_bind
from sampan.injection.plan import plan_import
from sampan.model.inventory import Gpu, Inventory
from sampan.model.plan import ImportPlan, PlannedDevice, PlannedFile
from sampan.model.request import Request

NO_HOOK = HookChoice()
NEEDS_HOOK = (
    "forward compatibility, and programs with an own library path, need CDI with sampan-hook, or"
    " sampan-runtime"
)


class PlainImport(NamedTuple):
    """What plain flags bring into a container.

    Attributes:
        mounts: host path, container path, whether read-only.
        files: small texts that the host must hold somewhere, to be mounted from there.
        notes: what cannot be had this way.
    """

    devices: tuple[PlannedDevice, ...]
    mounts: tuple[tuple[str, str, bool], ...]
    files: tuple[PlannedFile, ...]
    environment: tuple[tuple[str, str], ...]
    gids: tuple[int, ...]
    notes: tuple[str, ...]


def plan_plain(inventory: Inventory, request: Request, gpus: Sequence[Gpu]) -> PlainImport:
    """What a container of any image gets by flags.

    Raises:
        SampanError: as ``plan_import``.
    """
    facts = facts_of_any_image(inventory, NO_HOOK)
    plan = plan_import(inventory, request, facts, gpus)
    rest = render_rest(plan, inventory, NO_HOOK)
    mounts = mounts_of_any_image(plan, rest.mounts, inventory, facts, NO_HOOK)
    links = [link.path for link in plan.links if link.path.startswith("/dev/")]
    notes = [NEEDS_HOOK]
    if links:
        notes.append(f"there is no {', '.join(links)}: docker's --device takes no colon in a path")
    return PlainImport(
        devices=plan.devices,
        mounts=tuple((one.host_path, one.container_path, "ro" in one.options) for one in mounts),
        files=_files(plan),
        environment=plan.environment,
        gids=plan.additional_gids,
        notes=tuple(notes),
    )


def _files(plan: ImportPlan) -> tuple[PlannedFile, ...]:
    """Texts to mount. The loader cache would be one without the image's own entries."""
    return tuple(
        file
        for file in plan.files
        if file.content and not file.path.startswith("/proc/") and file.path != LOADER_CACHE
    )


def render_plain(plain: PlainImport, file_paths: Mapping[str, str]) -> list[str]:
    """The flags, options and values as separate words.

    Args:
        plain: from ``plan_plain``.
        file_paths: where on the host each of its files lies, by container path.
    """
    words = []
    for device in plain.devices:
        words += ["--device", f"{device.host_path}:{device.path}:{device.permissions or 'rwm'}"]
    for host_path, container_path, read_only in plain.mounts:
        words += render_bind(host_path, container_path, read_only=read_only)
    for file in plain.files:
        words += render_bind(file_paths[file.path], file.path, read_only=True)
    for name, value in plain.environment:
        words += ["--env", f"{name}={value}"]
    return words
