"""GPUs that vanish from running containers after ``systemctl daemon-reload``.

NVIDIA's hook changes a container's device cgroup behind the runtime. systemd does not know, and puts
its own list back at the next reload. CDI tells the runtime, so nothing is lost.
"""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.host import show_version
from sampan.doctor.looks.toolkit import look_at_toolkit
from sampan.doctor.subject import Engine, Subject

SYMPTOM = "Failed to initialize NVML: Unknown Error (a container that worked before)"
REMEDY = (
    "docker run --device nvidia.com/gpu=all in place of --gpus (sudo sampan cdi generate --output"
    ' /var/run/cdi/nvidia.yaml), or "exec-opts": ["native.cgroupdriver=cgroupfs"] in'
    " /etc/docker/daemon.json"
)
V1_GROUPS = ("/sys/fs/cgroup/devices/docker", "/sys/fs/cgroup/devices/system.slice")


def check(subject: Subject) -> Iterator[Finding]:
    """Hook and systemd's cgroup driver together; versions with faults; containers that lost rules."""
    toolkit = look_at_toolkit(subject.host)
    found = []
    for engine in subject.engines:
        systemd = engine.cgroup_driver == "systemd" and not engine.rootless
        if systemd and toolkit.hooks(engine):
            found.append(_explain(engine, toolkit.mode))
    found += [*_judge_versions(subject), *_find_victims(subject)]
    yield from found
    if not found:
        yield ok("cgroup-reapply", "no engine here changes device rules behind systemd's back")


def _explain(engine: Engine, mode: str) -> Finding:
    return warning(
        "cgroup-hook-systemd",
        f"{engine.kind} leaves cgroups to systemd, and NVIDIA's hook changes them behind it:"
        " systemctl daemon-reload takes the GPUs away",
        f"cgroup driver systemd, toolkit mode {mode}",
        symptom=SYMPTOM,
        remedy=REMEDY,
    )


def _judge_versions(subject: Subject) -> Iterator[Finding]:
    if not any(engine.cgroup_driver == "systemd" for engine in subject.engines):
        return
    runc = subject.host.command_version("runc")
    systemd = subject.host.command_version("systemctl") or _systemd_number(subject)
    links = subject.host.list("/dev/char")
    if (1, 1, 3) <= runc <= (1, 1, 6) and not any(name.startswith("195:") for name in links):
        yield warning(
            "cgroup-runc-version",
            f"runc {show_version(runc)} passes over devices without a link in /dev/char",
            "no /dev/char/195:*", symptom=SYMPTOM,
            remedy="update runc to 1.1.7 or newer, or: sudo nvidia-ctk system"
            " create-dev-char-symlinks --create-all",
        )  # fmt: skip
    if systemd and systemd < (240,):
        yield warning(
            "cgroup-systemd-version",
            f"systemd {systemd[0]} needs links in /dev/char for every device rule",
            "older than 240", symptom=SYMPTOM,
            remedy="sudo nvidia-ctk system create-dev-char-symlinks --create-all",
        )  # fmt: skip


def _systemd_number(subject: Subject) -> tuple[int, ...]:
    """``systemctl --version`` begins ``systemd 252 (252.39-1~deb12u1)``."""
    program = subject.host.find_program("systemctl")
    words = subject.host.ask(program, "--version").output.split() if program else []
    return (int(words[1]),) if len(words) > 1 and words[1].isdecimal() else ()


def _find_victims(subject: Subject) -> Iterator[Finding]:
    """Containers with the driver's nodes mounted and no rule for them (cgroup v1 shows its rules)."""
    host = subject.host
    for place in V1_GROUPS:
        for name in host.list(place):
            group = f"{place}/{name}"
            rules = host.read(f"{group}/devices.list")
            if not rules or "c 195:" in rules or rules.startswith("a *:*") or "c *:* rwm" in rules:
                continue
            pid = next(iter(host.read(f"{group}/cgroup.procs").split()), "")
            if pid.isdecimal() and " /dev/nvidia" in host.read(f"/proc/{pid}/mountinfo"):
                yield broken(
                    "cgroup-lost", f"container {name} has the driver's nodes but no right to use them",
                    f"{group}/devices.list has no rule for 195", symptom=SYMPTOM,
                    remedy=f"restart the container; then {REMEDY}",
                )  # fmt: skip
