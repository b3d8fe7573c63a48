"""Lays the driver over a ``config.json`` (runtime-spec, config.md), and takes an earlier layer off first.

The layer is a fragment of the same form: mounts, nodes, device rules, variables, groups, hooks. It is
put in so that a second edit gives the same file. A bundle is often used again: after a change of the
wish or of the driver nothing of the old layer may remain, so what was added is recorded beside the
file (``bundle``). Not in it: podman hands on the annotations of images, and CRI-O those of pods, and
whoever writes the record decides which mounts and device rules go.
"""

from __future__ import annotations

import zlib

from sampan.dropin.quick_json import encode
from sampan.dropin.wish import EDITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLD_HOOKS = frozenset({"nvidia-container-runtime-hook", "nvidia-container-toolkit"})
OLD_STAGES = ("prestart", "createRuntime")


def apply_fragment(config: dict[str, Any], fragment: dict[str, Any]) -> dict[str, Any]:
    """Put a fragment into ``config``, in place; what has the same path or name gives way.

    Returns what was added, for ``remove_edits``; its mark is then an annotation.
    """
    added: dict[str, Any] = {}
    mounts = fragment.get("mounts") or []
    if mounts:
        paths = {mount["destination"] for mount in mounts}
        kept = [one for one in config.get("mounts") or [] if one.get("destination") not in paths]
        config["mounts"] = kept + mounts
        added["mounts"] = sorted(paths)
    linux = fragment.get("linux") or {}
    nodes = linux.get("devices") or []
    if nodes:
        ours = _object(config, "linux")
        paths = {node["path"] for node in nodes}
        ours["devices"] = [n for n in ours.get("devices") or [] if n.get("path") not in paths]
        ours["devices"] += nodes
        added["devices"] = sorted(paths)
    rules = (linux.get("resources") or {}).get("devices") or []
    if rules:
        added["rules"] = _extend(_object(_object(config, "linux"), "resources"), "devices", rules)
    process = fragment.get("process") or {}
    if process.get("env"):
        added["env"] = _set_variables(_object(config, "process"), process["env"])
    gids = (process.get("user") or {}).get("additionalGids") or []
    if gids:
        user = _object(_object(config, "process"), "user")
        added["gids"] = _extend(user, "additionalGids", gids)
    for stage, entries in (fragment.get("hooks") or {}).items():
        new = _extend(_object(config, "hooks"), stage, entries)
        added.setdefault("hooks", []).extend([stage, _sum(entry)] for entry in new)
    _object(config, "annotations")[EDITS] = mark_of(added)
    return added


def mark_of(added: dict[str, Any]) -> str:
    """What tells one record of edits from another; no secret."""
    return f"{zlib.crc32(encode(added)):08x}"


def read_mark(config: dict[str, Any]) -> str | None:
    """The mark of the edits that ``config`` says it has; None when it says nothing."""
    annotations = config.get("annotations") or {}
    return str(annotations[EDITS]) if EDITS in annotations else None


def remove_edits(config: dict[str, Any], added: dict[str, Any]) -> None:
    """Take off what an earlier edit has added, and the mark.

    A variable that somebody has changed since keeps its value.

    Args:
        config: changed in place.
        added: from ``apply_fragment``; empty = the mark alone.

    Raises:
        ValueError: the record is none.
    """
    annotations = config.get("annotations") or {}
    try:
        annotations.pop(EDITS, None)
        if "annotations" in config and not annotations:
            del config["annotations"]
        _drop(config, "mounts", lambda one: one.get("destination") in added.get("mounts", ()))
        linux = config.get("linux") or {}
        _drop(linux, "devices", lambda one: one.get("path") in added.get("devices", ()))
        _drop(linux.get("resources") or {}, "devices", lambda one: one in added.get("rules", ()))
        process = config.get("process") or {}
        _drop(process.get("user") or {}, "additionalGids", lambda gid: gid in added.get("gids", ()))
        _restore_variables(process, added.get("env", {}))
        hooks = config.get("hooks") or {}
        for stage, number in added.get("hooks", ()):
            _drop(hooks, stage, lambda one, number=number: _sum(one) == number)
        if "hooks" in config and not hooks:
            del config["hooks"]
    except (AttributeError, TypeError, LookupError) as error:
        raise ValueError("the record of its earlier edits is not of our making") from error


def remove_old_hooks(config: dict[str, Any]) -> None:
    """Take away the hook of NVIDIA's toolkit (docker's ``--gpus`` adds it): nothing happens twice."""
    hooks = config.get("hooks") or {}
    for stage in OLD_STAGES:
        _drop(hooks, stage, lambda one: one.get("path", "").rpartition("/")[2] in OLD_HOOKS)
    if "hooks" in config and not hooks:
        del config["hooks"]


def _sum(hook: dict[str, Any]) -> int:
    """What a hook is known by again: its words are too long to stand in the file twice."""
    return zlib.crc32(encode(hook))


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if value is None:
        value = parent[name] = {}
    if not isinstance(value, dict):
        raise TypeError(f"{name} in the container's configuration is no object")
    return value


def _extend(parent: dict[str, Any], name: str, items: list[Any]) -> list[Any]:
    """Add what is not there yet; return what was added."""
    there = parent.get(name) or []
    new = [item for item in items if item not in there]
    parent[name] = there + new
    return new


def _drop(parent: dict[str, Any], name: str, matches: Any) -> None:
    if not parent.get(name):
        return
    kept = [one for one in parent[name] if not matches(one)]
    if kept:
        parent[name] = kept
    else:
        del parent[name]


def _set_variables(process: dict[str, Any], words: list[str]) -> dict[str, list[Any]]:
    """Replace or add variables; each with the words it had before and the one it has now."""
    now = {word.partition("=")[0]: word for word in words}
    there = process.get("env") or []
    changed = {
        name: [[one for one in there if one.partition("=")[0] == name], word]
        for name, word in now.items()
    }
    process["env"] = [one for one in there if one.partition("=")[0] not in now] + words
    return changed


def _restore_variables(process: dict[str, Any], changed: dict[str, list[Any]]) -> None:
    words = process.get("env") or []
    for before, given in changed.values():
        # Otherwise somebody has changed it since.
        if given in words:
            place = words.index(given)
            words = [one for one in words if one != given]
            words[place:place] = before
    if words:
        process["env"] = words
