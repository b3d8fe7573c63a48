"""A CDI document line by line, for people who compare two; and paths of one under another root."""

from collections.abc import Callable

from sampan.model.cdi import CdiEdits, CdiSpec


def describe_spec(spec: CdiSpec) -> list[str]:
    """One line for everything a document says, apart from its annotations."""
    lines = [
        f"cdiVersion {spec.version}",
        f"kind {spec.kind}",
        *_describe(spec.edits, "all devices"),
    ]
    for device in spec.devices:
        lines += _describe(device.edits, f"device {device.name}")
    return lines


def compare_specs(old: CdiSpec, new: CdiSpec) -> list[str]:
    """``- line`` for what only the old one says, ``+ line`` for the new; empty when they agree."""
    before, after = describe_spec(old), describe_spec(new)
    there, here = set(before), set(after)
    return [f"- {line}" for line in before if line not in here] + [
        f"+ {line}" for line in after if line not in there
    ]


def move_root(spec: CdiSpec, old: str, new: str, *, container: bool = False) -> CdiSpec:
    """The document for another place of the driver root: paths below ``old`` begin with ``new``.

    Args:
        spec: a document.
        old: absolute directory that paths begin with so far.
        new: absolute directory that they begin with then.
        container: change the paths in the container, instead of those on the host.
    """

    def move(path: str) -> str:
        prefix = old.rstrip("/")
        if path != prefix and not path.startswith(f"{prefix}/"):
            return path
        return (new.rstrip("/") + path[len(prefix) :]) or "/"

    change = _move_container if container else _move_host
    return spec._replace(
        edits=change(spec.edits, move),
        devices=tuple(device._replace(edits=change(device.edits, move)) for device in spec.devices),
    )


def _move_host(edits: CdiEdits, move: Callable[[str], str]) -> CdiEdits:
    nodes = []
    for node in edits.device_nodes:
        host_path = move(node.host_path or node.path)
        nodes.append(node._replace(host_path=host_path if host_path != node.path else ""))
    return edits._replace(
        device_nodes=tuple(nodes),
        mounts=tuple(mount._replace(host_path=move(mount.host_path)) for mount in edits.mounts),
        hooks=tuple(hook._replace(path=move(hook.path)) for hook in edits.hooks),
    )


def _move_container(edits: CdiEdits, move: Callable[[str], str]) -> CdiEdits:
    nodes = []
    for node in edits.device_nodes:
        path, host_path = move(node.path), node.host_path or node.path
        nodes.append(node._replace(path=path, host_path=host_path if host_path != path else ""))
    return edits._replace(
        device_nodes=tuple(nodes),
        mounts=tuple(
            mount._replace(container_path=move(mount.container_path)) for mount in edits.mounts
        ),
    )


def _describe(edits: CdiEdits, owner: str) -> list[str]:
    lines = [f"{owner}: env {word}" for word in edits.env]
    for node in edits.device_nodes:
        number = "" if node.major is None else f" {node.major}:{node.minor or 0}"
        mode = "" if node.file_mode is None else f" mode {node.file_mode:04o}"
        source = f" from {node.host_path}" if node.host_path else ""
        lines.append(f"{owner}: node {node.path}{number}{mode}{source}")
    lines += [
        f"{owner}: mount {one.host_path} at {one.container_path} ({','.join(one.options)})"
        for one in edits.mounts
    ]
    lines += [
        f"{owner}: net device {device.host_interface_name} as {device.name}"
        for device in edits.net_devices
    ]
    lines += [
        f"{owner}: hook {hook.name} {hook.path} {' '.join(hook.args)}".rstrip()
        for hook in edits.hooks
    ]
    lines += [f"{owner}: group {gid}" for gid in edits.additional_gids]
    if edits.intel_rdt is not None:
        lines.append(f"{owner}: intelRdt {edits.intel_rdt.clos_id}")
    return lines
