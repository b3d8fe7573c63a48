"""The container's state that a runtime gives its hooks on standard input (runtime-spec, runtime.md)."""

import os
from typing import Any, NamedTuple

from sampan.dropin.quick_json import decode
from sampan.kernel.root_handle import read_descriptor, read_stream

MAXIMUM_STATE_BYTES = 1 << 20
MAXIMUM_CONFIG_BYTES = 32 << 20
_GPU_NODE = "/dev/nvidia"


class StateError(ValueError):
    """The state, or the bundle that it names, is not what the runtime-spec says."""


class ContainerState(NamedTuple):
    """The container, before its program starts.

    Attributes:
        root: path of its root file system, as this process sees it.
        config: its ``config.json``; empty when the state itself named the root and there is none.
    """

    root: str
    config: dict[str, Any]


def read_state(descriptor: int) -> ContainerState:
    """Read the state.

    Raises:
        StateError: it is too long, no JSON object, or names no root file system.
    """
    text = read_stream(descriptor, MAXIMUM_STATE_BYTES + 1)
    if len(text) > MAXIMUM_STATE_BYTES:
        raise StateError(f"the container's state is longer than {MAXIMUM_STATE_BYTES} bytes")
    state = _parse(text, "the container's state")
    bundle = state.get("bundle")
    if not isinstance(bundle, str) or not bundle.startswith("/"):
        raise StateError("the container's state names no bundle")
    # crun says where the root is mounted; runc leaves it to the bundle.
    said = state.get("root")
    config = _read_config(f"{bundle}/config.json", required=not isinstance(said, str))
    if not isinstance(said, str):
        root = config.get("root")
        said = root.get("path") if isinstance(root, dict) else None
    if not isinstance(said, str) or not said or "\0" in said:
        raise StateError(f"{bundle}/config.json names no root file system")
    return ContainerState(os.path.join(bundle, said), config)


def gpu_minors(config: dict[str, Any]) -> tuple[int, ...]:
    """Minor numbers of the GPUs whose nodes the container has, made or bind-mounted."""
    linux = config.get("linux")
    nodes = linux.get("devices") if isinstance(linux, dict) else None
    mounts = config.get("mounts")
    places = [node.get("path") for node in _objects(nodes)]
    places += [mount.get("destination") for mount in _objects(mounts)]
    minors = set()
    for place in places:
        if isinstance(place, str) and place.startswith(_GPU_NODE):
            number = place[len(_GPU_NODE) :]
            if number.isascii() and number.isdecimal() and len(number) < 5:
                minors.add(int(number))
    return tuple(sorted(minors))


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _read_config(path: str, *, required: bool) -> dict[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            text = read_descriptor(descriptor, MAXIMUM_CONFIG_BYTES, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        if required:
            raise StateError(f"{path}: {error.strerror}") from error
        return {}
    return _parse(text, path)


def _parse(text: bytes, what: str) -> dict[str, Any]:
    try:
        document = decode(text)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{what} is no JSON") from error
    if not isinstance(document, dict):
        raise StateError(f"{what} is no JSON object")
    return document
