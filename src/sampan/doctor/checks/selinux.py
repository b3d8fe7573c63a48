"""SELinux: enforcing mode keeps confined containers from the driver's nodes and relabelled files."""

import os
from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject

SYMPTOM = "Failed to initialize NVML: Insufficient Permissions"
BOOLEAN = "container_use_devices"


def check(subject: Subject) -> Iterator[Finding]:
    """The mode, the boolean that opens devices, and the label of libcuda."""
    host = subject.host
    if host.read("/sys/fs/selinux/enforce").strip() != "1":
        yield ok("selinux", "SELinux does not enforce anything here")
        return
    if not host.inventory.libraries:
        yield ok("selinux", "SELinux enforces, but there is no driver to import")
        return
    found = []
    value = host.read(f"/sys/fs/selinux/booleans/{BOOLEAN}").split()
    if value[:1] == ["0"]:
        found.append(
            warning(
                "selinux-devices",
                "SELinux keeps containers from the driver's device nodes",
                f"enforcing, {BOOLEAN} is off",
                symptom=SYMPTOM,
                remedy=f"sudo setsebool -P {BOOLEAN}=on    or: podman run --security-opt label=disable",
            )
        )
    wrong = []
    for library in host.inventory.libraries:
        label = _label(library.host_path)
        kind = label.split(":")[2] if label.count(":") >= 2 else ""
        if kind and not kind.endswith(("lib_t", "textrel_shlib_t", "container_file_t", "usr_t")):
            wrong.append(f"{library.host_path} is {kind}")
    if wrong:
        found.append(
            warning(
                "selinux-labels",
                "driver files have labels that containers may not read",
                ", ".join(wrong[:3]),
                symptom="cannot open shared object file: Permission denied",
                remedy=f"sudo restorecon -Rv {os.path.dirname(wrong[0].split(' ')[0])}",
            )
        )
    yield from found
    if not found:
        yield ok("selinux", f"SELinux enforces, {BOOLEAN} lets containers use devices")


def _label(path: str) -> str:
    try:
        return os.getxattr(path, "security.selinux").decode(errors="replace").rstrip("\0")
    except OSError:
        return ""
