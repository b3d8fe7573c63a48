"""Mount options that stop NVIDIA's hook: ``hidepid`` on /proc, ``noexec`` on /run or /tmp."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, info, ok, warning
from sampan.doctor.looks.mounts import list_mounts, mount_of
from sampan.doctor.looks.toolkit import look_at_toolkit
from sampan.doctor.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """The mount table; only with NVIDIA's hook installed it is a trouble."""
    mounts = list_mounts(subject.host)
    hook = look_at_toolkit(subject.host).is_installed
    found = []
    proc = mount_of(mounts, "/proc")
    hidden = sorted(one for one in proc.options if one.startswith("hidepid=")) if proc else []
    if hidden and hidden[0] not in ("hidepid=0", "hidepid=off"):
        cause = "/proc hides other users' processes; NVIDIA's hook cannot read /proc/<pid>"
        symptom = "nvidia-container-cli: container error: failed to inspect process"
        remedy = "sudo mount -o remount,hidepid=0 /proc (and the same in /etc/fstab), or use CDI"
        found.append(
            warning("mount-hidepid", cause, hidden[0], symptom=symptom, remedy=remedy)
            if hook
            else info("mount-hidepid", cause, hidden[0])
        )
    for path in ("/run", "/tmp"):
        mount = mount_of(mounts, path)
        if mount is None or "noexec" not in mount.options:
            continue
        cause = f"{path} is mounted noexec; NVIDIA's hook starts its copy of ldconfig from there"
        # Debian mounts /run noexec by default, and hooks of today use memory files.
        if hook and path == "/tmp":
            found.append(
                warning(
                    "mount-noexec", cause, f"{mount.point} ({mount.kind})",
                    symptom="ldcache error: process /sbin/ldconfig.real failed: permission denied",
                    remedy=f"sudo mount -o remount,exec {mount.point}, or use CDI",
                )
            )  # fmt: skip
        elif hook:
            found.append(info("mount-noexec", cause, f"{mount.point} ({mount.kind})"))
    yield from found
    if not found:
        yield ok("mount-options", "/proc shows processes, and nothing that is needed is noexec")
