"""What in a ``config.json`` may ask for the driver, as plain data; what it means is not decided here.

Nearly all containers ask for nothing: that is found by a search for words in the file's bytes. For the
others the words that count are gathered (``gpus.container_request`` judges them), and are the key of
the plan that was made for the same words before.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VISIBLE = "NVIDIA_VISIBLE_DEVICES"
LEGACY = "CUDA_VERSION"
MOUNT_ROOT = "nvidia-container-devices"
EDITS = "org.sampan.edits"
"""Annotation with the mark of the record that tells what an earlier edit of this file has added."""


def may_ask(content: bytes, settings: dict[str, Any]) -> bool:
    """Whether any word is in the file that a request is made of."""
    words = [VISIBLE, LEGACY, EDITS, *settings["swarm"]]
    # A writer of JSON may escape a slash.
    words += [prefix.split("/")[0] for prefix in settings["annotation_prefixes"]]
    if settings["accept_mounts"]:
        words.append(MOUNT_ROOT)
    return any(word.encode() in content for word in words)


def read_wish(config: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any] | None:
    """What the container's document says that may count; None when nothing asks for anything."""
    process = _object(config, "process")
    environment = read_environment(process)
    prefixes = tuple(settings["annotation_prefixes"])
    annotations = {
        key: value
        for key, value in sorted(_object(config, "annotations").items())
        if isinstance(value, str) and prefixes and key.startswith(prefixes)
    }
    mounts = _marker_mounts(config) if settings["accept_mounts"] else []
    if not (annotations or mounts or _variables_ask(environment, settings)):
        return None
    swarm = settings["swarm"]
    bounding = _object(process, "capabilities").get("bounding")
    user = _object(process, "user")
    namespaces = _object(config, "linux").get("namespaces") or []
    return {
        "environment": {
            name: environment[name]
            for name in sorted(environment)
            if name.startswith("NVIDIA_") or name == LEGACY or name in swarm
        },
        "annotations": annotations,
        "mounts": mounts,
        # Podman copies the annotations of images.
        "libpod": _object(config, "annotations").get("io.container.manager") == "libpod",
        "privileged": isinstance(bounding, list) and "CAP_SYS_ADMIN" in bounding,
        "user_namespace": any(
            isinstance(one, dict) and one.get("type") == "user" for one in namespaces
        ),
        "owner": [user.get("uid", 0), user.get("gid", 0)],
    }


def read_environment(process: dict[str, Any]) -> dict[str, str]:
    """Variables of the process; of two with one name the later counts."""
    words = process.get("env") or []
    pairs = (word.partition("=") for word in words if isinstance(word, str))
    return {name: value for name, _, value in pairs}


def _variables_ask(environment: dict[str, str], settings: dict[str, Any]) -> bool:
    if any(name in environment for name in settings["swarm"]):
        return True
    if VISIBLE in environment:
        items = [item.strip() for item in environment[VISIBLE].split(",") if item.strip()]
        return bool(items) and "void" not in items
    return bool(environment.get(LEGACY)) and not environment.get("NVIDIA_REQUIRE_CUDA")


def _marker_mounts(config: dict[str, Any]) -> list[list[str]]:
    return [
        [mount["source"], mount["destination"]]
        for mount in config.get("mounts") or []
        if isinstance(mount, dict)
        and mount.get("source") == "/dev/null"
        and isinstance(mount.get("destination"), str)
        and MOUNT_ROOT in mount["destination"]
    ]


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
