"""Containers as JSON documents with docker's keys, as far as they mean something here."""

from datetime import UTC, datetime
from typing import Any

from sampan.engines.native import state

_PROPAGATIONS = ("private", "shared", "slave")
_NEVER = "0001-01-01T00:00:00Z"


def inspect_container(name_or_id: str) -> dict[str, Any] | None:
    """All that is known of a container, in the layout of ``docker inspect``; None when unknown.

    Raises:
        AmbiguousContainerError: several ids begin so.
    """
    try:
        record = state.load_record(name_or_id)
    except state.NoSuchContainerError:
        return None
    return describe_container(record, state.container_status(record))


def describe_container(record: state.ContainerRecord, status: state.Status) -> dict[str, Any]:
    """The document of one container. Pure."""
    running = status.state == "running"
    return {
        "Id": record.id,
        "Created": _moment(record.created),
        "Path": record.command[0] if record.command else "",
        "Args": list(record.command[1:]),
        "State": {
            "Status": status.state,
            "Running": running,
            "Paused": False,
            "Dead": status.state == "dead",
            "Pid": record.pid if running else 0,
            "ExitCode": status.exit_code or 0,
            "StartedAt": _moment(record.started),
            "FinishedAt": _moment(status.finished),
        },
        "Image": record.image_digest,
        "Name": f"/{record.name}",
        "LogPath": record.log_path,
        "HostConfig": {
            "AutoRemove": record.remove,
            "NetworkMode": record.network,
            "PortBindings": _port_bindings(record.ports),
        },
        "Mounts": [_mount(*mount) for mount in record.mounts],
        "Config": {
            "Env": list(record.environment),
            "WorkingDir": record.working_directory,
            "Hostname": record.hostname,
            "User": record.user,
            "Tty": record.terminal,
            "Image": record.image,
            "Labels": dict(record.labels),
            "StopSignal": record.stop_signal or "SIGTERM",
            "StopTimeout": record.stop_timeout_s,
        },
        "NetworkSettings": {"Ports": _port_bindings(record.ports)},
        "Sampan": {
            "Rootless": record.rootless,
            "Detached": record.detached,
            "SupervisorPid": record.supervisor_pid if running else 0,
            "GPUs": list(record.gpus),
            "Warnings": list(record.warnings),
            "WritableLayer": "in use" if running else "gone: it ended with the container",
        },
    }


def _mount(kind: str, source: str, target: str, options: str) -> dict[str, Any]:
    words = options.split(",")
    return {
        "Type": kind,
        "Source": source,
        "Destination": target,
        "Mode": options,
        "RW": "ro" not in words,
        "Propagation": next((word for word in words if word.endswith(_PROPAGATIONS)), ""),
    }


def _moment(seconds: float) -> str:
    if not seconds:
        return _NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _port_bindings(ports: tuple[str, ...]) -> dict[str, list[dict[str, str]]]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        outside, _, inside = port.partition("->")
        address, _, number = outside.rpartition(":")
        bindings.setdefault(inside, []).append({"HostIp": address, "HostPort": number})
    return bindings
