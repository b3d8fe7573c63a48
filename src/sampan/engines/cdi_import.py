"""``--device vendor.com/class=name`` for the engine that has no CDI below it: documents become a plan.

Names of our own kinds that no document defines are answered from the inventory, as if a document
were made for the occasion; the others are looked up, completed from this host, and planned.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from sampan.driver.cdi_files import SPEC_DIRECTORIES
from sampan.driver.cdi_nodes import CdiNodeError, complete_nodes
from sampan.driver.elf import read_elf
from sampan.engines.cdi import Registry, load_registry
from sampan.errors import SampanError
from sampan.gpus.request import OWN_KIND
from sampan.gpus.variables import AUTOMATIC_KIND
from sampan.injection.cdi_hook_jobs import CdiHookError, read_hooks
from sampan.injection.cdi_plan import HostFacts, plan_edits
from sampan.injection.cdi_resolve import (
    CdiDevices,
    UnresolvableDeviceError,
    collect_devices,
    resolve_devices,
)
from sampan.kernel.trust import who_may_change
from sampan.model.cdi import CdiEdits, CdiHook
from sampan.model.facts import ImageFacts
from sampan.model.plan import ImportPlan

IN_CONTAINER = "startContainer"
"""The one stage whose program is the container's own."""
PARAMS = "/proc/driver/nvidia/params"
MAXIMUM_PARAMS = 1 << 16


class CdiStaleError(SampanError):
    """A document names what this host no longer has."""

    id = "cdi-stale"


class CdiUnsupportedError(SampanError):
    """A document asks for what our engine cannot do."""

    id = "cdi-unsupported"


class CdiWish(NamedTuple):
    """Names that a user wants.

    Attributes:
        registry: of the directories that were searched.
        documented: names to look up in it.
        automatic: device names (``0``, ``all``, ``GPU-...``, ``0:1``) of our own kinds, answered
            from the inventory.
    """

    registry: Registry
    directories: tuple[str, ...]
    documented: tuple[str, ...]
    automatic: tuple[str, ...]


def sort_names(names: Sequence[str], directories: Sequence[str] = ()) -> CdiWish:
    """Which of the names documents answer, and which the inventory does.

    Args:
        names: fully qualified.
        directories: of documents; empty = the usual ones.
    """
    places = tuple(directories) or SPEC_DIRECTORIES
    registry = load_registry(places)
    devices = collect_devices(registry.specs)
    known = {name.partition("=")[0] for name in (*devices.found, *devices.conflicts)}
    # A file of ours that cannot be read is refused by its reason, not silently answered for.
    spoiled = any("nvidia" in os.path.basename(path) for path, _ in registry.problems)
    automatic: list[str] = []
    documented: list[str] = []
    for name in dict.fromkeys(names):
        ours = name.startswith(OWN_KIND) and OWN_KIND.rstrip("=") not in known and not spoiled
        if ours or name.startswith(AUTOMATIC_KIND):
            automatic.append(_plain(name.partition("=")[2]))
        else:
            documented.append(name)
    return CdiWish(registry, places, tuple(documented), tuple(automatic))


def _plain(device: str) -> str:
    """nvidia-ctk's type-index names, ``gpu0`` and ``mig0:1``, as the words that mean them here."""
    for prefix in ("gpu", "mig"):
        rest = device.removeprefix(prefix)
        if rest != device and rest.replace(":", "").isdecimal():
            return rest
    return device


def plan_documented(
    wish: CdiWish,
    facts: ImageFacts,
    *,
    base: ImportPlan,
    owner: tuple[int, int] = (0, 0),
) -> ImportPlan:
    """``base`` with what documents say of the documented names.

    Args:
        wish: from ``sort_names``.
        facts: of the image.
        base: what the container gets besides.
        owner: uid and gid that nodes get where a document names none.

    Raises:
        UnresolvableDeviceError: no document, or two of one directory, define a name.
        CdiStaleError: files or nodes of a document are not on this host.
        CdiUnsupportedError: it moves network interfaces or sets cache and memory classes.
        CdiHookError: a hook must not be run here.
    """
    if not wish.documented:
        return base
    devices = collect_devices(wish.registry.specs)
    edits = _resolve(wish)
    files = tuple(dict.fromkeys(devices.found[name][0].path for name in wish.documented))
    _refuse_unsupported(edits, files)
    try:
        edits = complete_nodes(edits)
    except CdiNodeError as error:
        raise _stale(files, error.evidence, wish) from error
    missing = [
        mount.host_path
        for mount in edits.mounts
        if mount.kind in ("", "bind", "none") and not os.path.exists(mount.host_path)
    ]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        named = _files_with(devices, wish, missing[0]) or files
        raise _stale(named, ", ".join(missing[:3]) + more, wish)
    jobs = read_hooks(edits.hooks)
    for hook in jobs.foreign:
        _require_trusted(hook, files)
    if jobs.foreign:
        _require_trusted_files(files)
    host = HostFacts(
        _identify(edits) if jobs.folders else {}, _read_params() if jobs.params else "", owner
    )
    plan = plan_edits(edits, facts, names=", ".join(wish.documented), host=host, base=base)
    suspicious = [text for text in wish.registry.warnings if any(file in text for file in files)]
    return plan._replace(warnings=(*suspicious, *plan.warnings))


def _resolve(wish: CdiWish) -> CdiEdits:
    try:
        return resolve_devices(wish.documented, wish.registry.specs)
    except UnresolvableDeviceError as error:
        broken = "".join(f"; {path} is not used: {why}" for path, why in wish.registry.problems)
        raise UnresolvableDeviceError(
            error.cause,
            evidence=f"{error.evidence}; searched {', '.join(wish.directories)}{broken}",
            remedy=error.remedy,
        ) from error


def _stale(files: Sequence[str], evidence: str, wish: CdiWish) -> CdiStaleError:
    ours = any(name.startswith("nvidia.com/") for name in wish.documented)
    return CdiStaleError(
        f"{', '.join(files)} does not fit this host any more",
        evidence=f"not there: {evidence}",
        remedy=f"sudo sampan cdi refresh --output {files[0]}"
        if ours
        else "have the vendor's tool write its CDI file anew",
    )


def _files_with(devices: CdiDevices, wish: CdiWish, host_path: str) -> tuple[str, ...]:
    """The documents that mount a host path."""
    found = []
    for name in wish.documented:
        loaded, device = devices.found[name]
        mounts = (*loaded.spec.edits.mounts, *device.edits.mounts)
        if any(mount.host_path == host_path for mount in mounts):
            found.append(loaded.path)
    return tuple(dict.fromkeys(found))


def _refuse_unsupported(edits: CdiEdits, files: Sequence[str]) -> None:
    asks = []
    if edits.net_devices:
        names = ", ".join(device.host_interface_name for device in edits.net_devices)
        asks.append(f"netDevices ({names})")
    if edits.intel_rdt is not None:
        asks.append("intelRdt")
    if asks:
        raise CdiUnsupportedError(
            f"sampan run cannot give a container {' and '.join(asks)}",
            evidence=f"asked for by {', '.join(files)}",
            remedy="run this container with podman or docker, whose runtime runs as root",
        )


def _require_trusted(hook: CdiHook, files: Sequence[str]) -> None:
    """Refuse a program that another user could change: it runs with our rights, outside the container."""
    if hook.name == IN_CONTAINER:
        return
    try:
        problem = "it is no absolute path"
        if hook.path.startswith("/"):
            problem = who_may_change(hook.path)
            if not problem and not os.access(hook.path, os.X_OK):
                problem = "it cannot be executed"
    except OSError as error:
        problem = error.strerror or "it cannot be looked at"
    if problem:
        raise CdiHookError(
            f"the hook {hook.path} of a CDI document is not run",
            evidence=f"{problem}; named by {', '.join(files)}",
            remedy=f"ls -ld {hook.path}    and install it where only root may write",
        )


def _require_trusted_files(files: Sequence[str]) -> None:
    """Refuse hooks of a document that another user could change: its words say what a shell would do."""
    for file in files:
        problem = who_may_change(file)
        if problem:
            raise CdiHookError(
                f"the hooks of {file} are not run",
                evidence=problem,
                remedy=f"sudo chown root {file} && sudo chmod 0644 {file}",
            )


def _identify(edits: CdiEdits) -> dict[str, tuple[str, str]]:
    """Machine and SONAME of the shared libraries among the mounts."""
    found = {}
    for mount in edits.mounts:
        if ".so" in mount.host_path.rpartition("/")[2]:
            elf = read_elf(mount.host_path)
            if elf is not None:
                found[mount.host_path] = (elf.machine, elf.soname)
    return found


def _read_params() -> str:
    try:
        with open(PARAMS) as stream:
            return stream.read(MAXIMUM_PARAMS)
    except (OSError, UnicodeDecodeError):
        return ""
