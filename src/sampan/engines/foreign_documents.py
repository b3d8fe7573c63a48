"""CDI documents for a container that another engine makes: applied as they are, their hooks kept.

The engine below us runs hooks, so a document's own programs do their own work, as in the engines
that read CDI themselves. A hook of NVIDIA's toolkit that is not installed is done by ours of that
name.
"""

import os
from pathlib import PurePath

from sampan.engines.cdi import resolve_cdi
from sampan.engines.cdi_import import CdiStaleError, CdiUnsupportedError, CdiWish
from sampan.injection.cdi_edits import planned_device, planned_mount
from sampan.injection.cdi_hook_jobs import NVIDIA_ADMIN, NVIDIA_HOOK, CdiHookError
from sampan.kernel.trust import who_may_change
from sampan.model.cdi import CdiHook
from sampan.model.hook import ENVIRONMENT, PROGRAM
from sampan.model.plan import ImportPlan, PlannedHook

VISIBLE = "NVIDIA_VISIBLE_DEVICES"


def plan_documents(
    wish: CdiWish, base: ImportPlan, *, hook: str, owner: tuple[int, int]
) -> ImportPlan:
    """``base`` with what the documents say of the documented names.

    Args:
        wish: from ``cdi_import.sort_names``.
        base: what the container gets besides.
        hook: path of our installed hook; its directory has the programs of NVIDIA's names.
        owner: uid and gid that nodes get where a document names none.

    Raises:
        UnresolvableDeviceError: no document, or two of one directory, define a name.
        CdiNodeError: a device node is not on this host.
        CdiStaleError: a file of a document is not on this host.
        CdiUnsupportedError: it moves network interfaces or sets cache and memory classes.
        CdiHookError: a hook may be changed by others.
    """
    names = ", ".join(wish.documented)
    edits = resolve_cdi(wish.documented, wish.directories)
    if edits.net_devices or edits.intel_rdt is not None:
        raise CdiUnsupportedError(
            "sampan-runtime gives no netDevices and no intelRdt",
            evidence=f"asked for by {names}",
            remedy="name the device with the engine's own --device",
        )
    missing = [
        mount.host_path
        for mount in edits.mounts
        if mount.kind in ("", "bind", "none") and not os.path.exists(mount.host_path)
    ]
    if missing:
        raise CdiStaleError(
            f"the CDI document of {names} does not fit this host any more",
            evidence=f"not there: {', '.join(missing[:3])}",
            remedy="sudo sampan cdi refresh",
        )
    environment = dict(base.environment)
    for word in edits.env:
        name, _, value = word.partition("=")
        # What else was given is said by its own value.
        if name != VISIBLE or name not in environment:
            environment[name] = value
    mounts = {mount.container_path: mount for mount in base.mounts}
    mounts.update(
        (mount.container_path, planned_mount(mount, mount.container_path)) for mount in edits.mounts
    )
    devices = {device.path: device for device in base.devices}
    devices.update((node.path, planned_device(node, owner)) for node in edits.device_nodes)
    hooks = dict.fromkeys((*base.hooks, *(_hook(one, hook, names) for one in edits.hooks)))
    gids = (*base.additional_gids, *(gid for gid in edits.additional_gids if gid))
    return base._replace(
        mounts=tuple(mounts.values()),
        devices=tuple(devices.values()),
        environment=tuple(environment.items()),
        additional_gids=tuple(dict.fromkeys(gids)),
        hooks=tuple(hooks),
        warnings=(*wish.registry.warnings, *base.warnings),
    )


def _hook(hook: CdiHook, ours: str, names: str) -> PlannedHook:
    path = hook.path
    known = PurePath(path).name
    if known in (PROGRAM, NVIDIA_HOOK, NVIDIA_ADMIN) and not os.path.exists(path):
        path = str(PurePath(ours).with_name(known))
    if hook.name != "startContainer":
        try:
            problem = who_may_change(path) if path.startswith("/") else "it is no absolute path"
        except OSError as error:
            problem = error.strerror or "it cannot be looked at"
        if problem:
            raise CdiHookError(
                f"the hook {path} of the CDI document of {names} is not run",
                evidence=problem,
                remedy=f"ls -ld {path}    and install it where only root may write",
            )
    return PlannedHook(hook.name, path, hook.args or (path,), hook.env or ENVIRONMENT, hook.timeout)
