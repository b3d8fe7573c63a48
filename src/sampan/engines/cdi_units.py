"""Systemd units and a udev rule that keep a CDI file true: texts, and their places.

What changes a document, and who notices: a driver update (``modules.dep``, the path unit), a module
that is loaded or removed (the kernel's own events, the udev rule), nodes that appear, MIG devices
among them (the path unit). A MIG device that is destroyed leaves its node behind and nothing is
announced, so a timer looks too: from the cached inventory that costs some hundredths of a second.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from sampan.errors import UsageError

SERVICE = "sampan-cdi-refresh"
UNIT_DIRECTORY = "/etc/systemd/system"
RULE = "/etc/udev/rules.d/60-sampan-cdi.rules"
VARIABLES = "/etc/sampan/cdi-refresh.env"
WATCHED: tuple[str, ...] = (
    "/lib/modules/%v/modules.dep", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm",
    "/dev/nvidia-modeset", "/dev/nvidia-caps", "/dev/nvidia-caps-imex-channels", "/dev/dri",
)  # fmt: skip
MODULES = "nvidia|nvidia_uvm|nvidia_modeset|nvidia_drm"


class UnitFile(NamedTuple):
    """A file to install: absolute path, text."""

    path: str
    text: str


def render_units(program: str, output: str) -> tuple[UnitFile, ...]:
    """The files of the unit set.

    Args:
        program: absolute path of ``sampan``.
        output: the CDI file, e.g. ``/var/run/cdi/nvidia.yaml``.

    Raises:
        UsageError: a path that systemd cannot be told.
    """
    for path in (program, output):
        if (
            not path.startswith("/")
            or not path.isprintable()
            or any(one in path for one in " %\"'\\$")
        ):
            raise UsageError(
                f"{path!r} cannot stand in a unit",
                evidence="an absolute path without blanks, quotes, % and $ is needed",
                remedy="sampan cdi install-units --program /usr/bin/sampan",
            )
    texts = {
        "service": _service(program, output),
        "path": _path(),
        "timer": _timer(),
    }
    units = tuple(
        UnitFile(f"{UNIT_DIRECTORY}/{SERVICE}.{kind}", text) for kind, text in texts.items()
    )
    return (*units, UnitFile(RULE, _rule()))


def install_units(units: tuple[UnitFile, ...], prefix: str = "/") -> tuple[str, ...]:
    """Write the files below ``prefix``; returns their paths.

    Raises:
        OSError: a directory cannot be written.
    """
    from sampan.kernel.atomic import write_atomic

    written = []
    for unit in units:
        target = Path(prefix) / unit.path.lstrip("/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(target, unit.text.encode(), 0o644)
        written.append(str(target))
    return tuple(written)


def remove_units(units: tuple[UnitFile, ...], prefix: str = "/") -> tuple[str, ...]:
    """Remove the files below ``prefix``; returns the paths of those that were there.

    Raises:
        OSError: a directory cannot be written.
    """
    removed = []
    for unit in units:
        target = Path(prefix) / unit.path.lstrip("/")
        if target.exists() or target.is_symlink():
            target.unlink()
            removed.append(str(target))
    return tuple(removed)


def _service(program: str, output: str) -> str:
    directory = output.rpartition("/")[0] or "/"
    if directory in ("/run/cdi", "/var/run/cdi"):
        places = "RuntimeDirectory=cdi\nRuntimeDirectoryMode=0755\nRuntimeDirectoryPreserve=yes"
    else:
        places = f"ReadWritePaths={directory}"
    command = shlex.join([program, "cdi", "refresh", "--output", output])
    return f"""\
[Unit]
Description=Keep {output} true to the NVIDIA driver of this host
Documentation=man:systemd.path(5)
After=systemd-modules-load.service systemd-udevd.service nvidia-persistenced.service
StartLimitIntervalSec=60
StartLimitBurst=15

[Service]
Type=oneshot
ExecStart={command}
# Options as variables, e.g. NVIDIA_CTK_CDI_GENERATE_DEVICE_NAME_STRATEGIES=type-index
EnvironmentFile=-{VARIABLES}
Environment=XDG_CACHE_HOME=/var/cache
CacheDirectory=sampan
{places}
UMask=0022
# The module may be there before its nodes are.
Restart=on-failure
RestartSec=3s
TimeoutStartSec=60s
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_MKNOD CAP_SYS_ADMIN
NoNewPrivileges=yes
LockPersonality=yes
PrivateNetwork=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def _path() -> str:
    watched = "\n".join(f"PathChanged={path}" for path in WATCHED)
    return f"""\
[Unit]
Description=Notice changes of the NVIDIA driver and its device nodes

[Path]
{watched}
Unit={SERVICE}.service

[Install]
WantedBy=multi-user.target
"""


def _timer() -> str:
    return f"""\
[Unit]
Description=Notice MIG devices that were destroyed

[Timer]
OnBootSec=30s
OnUnitInactiveSec=5min
AccuracySec=30s
Unit={SERVICE}.service

[Install]
WantedBy=timers.target
"""


def _rule() -> str:
    run = f'RUN+="/bin/systemctl --no-block restart {SERVICE}.service"'
    return f"""\
# A module of the NVIDIA driver was loaded or removed, or a GPU's DRI node came or went.
ACTION=="add|remove", SUBSYSTEM=="module", KERNEL=="{MODULES}", {run}
ACTION=="add|remove", SUBSYSTEM=="drm", KERNEL=="renderD*", ATTRS{{vendor}}=="0x10de", {run}
"""
