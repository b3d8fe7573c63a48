"""Device nodes and device rules of the container: docker's defaults and --device.

Rules: runtime-spec config-linux.md (devices, resources.devices), docker's default rules. Looks at
the host's nodes for their numbers.
"""

import os
import stat
from typing import Any

from sampan.errors import SampanError

_DEFAULT_NODES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2))
"""null, zero, full, random, urandom, tty, console, ptmx."""
_PSEUDO_TERMINALS = 136


class DeviceError(SampanError):
    """A path of --device is no device node."""

    id = "device"


def default_rules() -> list[dict[str, Any]]:
    """``linux.resources.devices``: nodes may be made, but only the harmless ones be opened."""
    return [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
        *[_rule("c", major, minor, "rwm") for major, minor in _DEFAULT_NODES],
        {"allow": True, "type": "c", "major": _PSEUDO_TERMINALS, "access": "rwm"},
    ]


def add_devices(
    config: dict[str, Any], devices: tuple[tuple[str, str, str], ...], *, bind: bool
) -> None:
    """Add the nodes of --device to ``config``.

    Args:
        config: changed in place.
        devices: (host path, container path, permissions).
        bind: bind-mount the host's nodes, since none can be made in a user namespace.

    Raises:
        DeviceError: a path is no device node.
    """
    linux = config["linux"]
    for host_path, container_path, permissions in devices:
        try:
            found = os.stat(host_path)
        except OSError as error:
            raise DeviceError(
                f"no device {host_path}", evidence=error.strerror or "", remedy=f"ls -l {host_path}"
            ) from error
        kind = "b" if stat.S_ISBLK(found.st_mode) else "c"
        if kind == "c" and not stat.S_ISCHR(found.st_mode):
            raise DeviceError(
                f"{host_path} is no device node", remedy=f"-v {host_path}:{container_path}"
            )
        major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
        if bind:
            config["mounts"].append(
                {
                    "destination": container_path,
                    "type": "bind",
                    "source": host_path,
                    "options": ["nosuid", "noexec", "rbind", "rprivate"],
                }
            )
        else:
            linux.setdefault("devices", []).append(
                {
                    "path": container_path,
                    "type": kind,
                    "major": major,
                    "minor": minor,
                    "fileMode": stat.S_IMODE(found.st_mode),
                    "uid": found.st_uid,
                    "gid": found.st_gid,
                }
            )
        linux["resources"]["devices"].append(_rule(kind, major, minor, permissions))


def legacy_lines(rules: list[dict[str, Any]]) -> tuple[str, ...]:
    """The allowing rules as lines for a v1 hierarchy's devices.allow."""
    return tuple(
        f"{rule.get('type', 'a')} {rule.get('major', '*')}:{rule.get('minor', '*')} "
        f"{rule.get('access') or 'rwm'}"
        for rule in rules
        if rule["allow"]
    )


def _rule(kind: str, major: int, minor: int, access: str) -> dict[str, Any]:
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}
