"""Renders a plan as edits of an OCI runtime ``config.json`` (runtime-spec, config.md).

Links and files are not in it: whoever makes the container writes ``plan.links`` and the files
without ``mount`` into the container's writable layer before it is mounted, each at its path (which
holds no links), replacing what the image has there. Files with ``mount`` are written to a private
place, passed here as ``file_sources``, and bind-mounted. In a user namespace no device node can be
made; crun then bind-mounts ``linux.devices`` by path, which needs ``path`` to exist on the host:
for a dev root other than ``/`` and for such runtimes give ``bind_devices=True``, which mounts the
host's nodes instead (the owner's rights on the host then decide).
"""

from collections.abc import Mapping
from typing import Any

from sampan.model.plan import ImportPlan

FILE_OPTIONS: tuple[str, ...] = ("ro", "nosuid", "nodev", "noexec", "rbind", "rprivate")
NODE_OPTIONS: tuple[str, ...] = ("nosuid", "noexec", "rbind", "rprivate")


def apply_plan(
    config: Mapping[str, Any],
    plan: ImportPlan,
    *,
    file_sources: Mapping[str, str] | None = None,
    bind_devices: bool = False,
) -> dict[str, Any]:
    """``config`` with the plan's mounts, nodes, device rules, variables and groups.

    ``config`` itself stays as it is; parts that are not edited are shared with it.

    Args:
        config: an OCI runtime configuration.
        plan: what to add; its items replace mounts, nodes and variables of the same name.
        file_sources: host path of each planned file that is to be mounted, by container path.
        bind_devices: bind-mount the host's nodes instead of having new ones made.

    Raises:
        KeyError: a planned file is to be mounted and ``file_sources`` does not name it.
    """
    edited = dict(config)
    for name in ("process", "linux"):
        edited[name] = dict(edited.get(name) or {})
    edited["linux"]["resources"] = dict(edited["linux"].get("resources") or {})
    mounts = {
        mount.container_path: (mount.host_path, mount.options, mount.kind) for mount in plan.mounts
    }
    for file in plan.files:
        if file.mount:
            source = (file_sources or {})[file.path]
            mounts[file.path] = (source, FILE_OPTIONS, "bind")
    if bind_devices:
        for device in plan.devices:
            mounts[device.path] = (device.host_path, NODE_OPTIONS, "bind")
    _add_mounts(edited, mounts)
    if not bind_devices:
        _add_devices(edited, plan)
    _add_rules(edited, plan)
    process = edited["process"]
    _set_environment(process, plan)
    if plan.hooks:
        _add_hooks(edited, plan)
    if plan.additional_gids:
        user = process["user"] = dict(process.get("user") or {})
        gids = dict.fromkeys((*(user.get("additionalGids") or ()), *plan.additional_gids))
        user["additionalGids"] = list(gids)
    return edited


def _add_mounts(
    edited: dict[str, Any], mounts: Mapping[str, tuple[str, tuple[str, ...], str]]
) -> None:
    kept = [m for m in edited.get("mounts") or () if m.get("destination") not in mounts]
    added = [
        {"destination": path, "type": kind, "source": source, "options": list(options)}
        for path, (source, options, kind) in mounts.items()
    ]
    # A stable sort by depth: a parent is mounted before what lies in it.
    edited["mounts"] = sorted(kept + added, key=lambda m: _depth(m.get("destination", "/")))


def _depth(path: str) -> int:
    return len([part for part in path.split("/") if part])


def _add_devices(edited: dict[str, Any], plan: ImportPlan) -> None:
    if not plan.devices:
        return
    linux = edited["linux"]
    paths = {device.path for device in plan.devices}
    kept = [node for node in linux.get("devices") or () if node.get("path") not in paths]
    linux["devices"] = kept + [
        {
            "path": device.path,
            "type": device.kind,
            # A FIFO has no numbers.
            **({} if device.kind == "p" else {"major": device.major, "minor": device.minor}),
            "fileMode": device.mode,
            "uid": device.uid,
            "gid": device.gid,
        }
        for device in plan.devices
    ]


def _add_rules(edited: dict[str, Any], plan: ImportPlan) -> None:
    if not plan.devices:
        return
    resources = edited["linux"]["resources"]
    rules = list(resources.get("devices") or ())
    for device in plan.devices:
        if device.kind == "p" or not device.permissions:
            continue
        rule = {
            "allow": True,
            "type": device.kind,
            "major": device.major,
            "minor": device.minor,
            "access": device.permissions,
        }
        if rule not in rules:
            rules.append(rule)
    resources["devices"] = rules


def _add_hooks(edited: dict[str, Any], plan: ImportPlan) -> None:
    hooks = edited["hooks"] = {
        stage: list(entries) for stage, entries in (edited.get("hooks") or {}).items()
    }
    for hook in plan.hooks:
        entry: dict[str, Any] = {
            "path": hook.path,
            "args": list(hook.arguments),
            "env": list(hook.environment),
        }
        if hook.timeout_s is not None:
            entry["timeout"] = hook.timeout_s
        hooks.setdefault(hook.stage, []).append(entry)


def _set_environment(process: dict[str, Any], plan: ImportPlan) -> None:
    names = {name for name, _ in plan.environment}
    kept = [line for line in process.get("env") or () if line.partition("=")[0] not in names]
    process["env"] = kept + [f"{name}={value}" for name, value in plan.environment]
