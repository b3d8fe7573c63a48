"""Whether anything renews CDI documents after a driver update, a MIG change or a reboot."""

from collections.abc import Iterator

from sampan.doctor.checks.cdi_documents import list_directories
from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.looks.documents import load_documents
from sampan.doctor.subject import Subject
from sampan.engines.cdi_units import SERVICE

UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
NAMES = (f"{SERVICE}.path", "nvidia-cdi-refresh.path")


def check(subject: Subject) -> Iterator[Finding]:
    """A document below /run is lost at reboot; one elsewhere grows old."""
    host = subject.host
    documents = load_documents(host, list_directories(subject))
    if not documents:
        yield ok("cdi-refresh", "no CDI document of NVIDIA's needs to be kept true")
        return
    units = [
        f"{directory}/{name}"
        for directory in UNIT_DIRECTORIES
        for name in NAMES
        if host.exists(f"{directory}/{name}")
    ]
    if units:
        enabled = [
            name for name in NAMES if host.list("/etc/systemd/system/multi-user.target.wants")
            and name in host.list("/etc/systemd/system/multi-user.target.wants")
        ]  # fmt: skip
        state = "enabled" if enabled else "installed"
        yield ok("cdi-refresh", f"a unit that renews CDI documents is {state}", units[0])
        return
    paths = [loaded.path for loaded in documents]
    volatile = [path for path in paths if "/run/" in path]
    yield warning(
        "cdi-not-renewed",
        "nothing renews the CDI documents"
        + (": after a reboot they are gone" if volatile else " after a driver update"),
        ", ".join(volatile or paths),
        symptom="unresolvable CDI devices nvidia.com/gpu=all (after a reboot)",
        remedy="sudo sampan cdi install-units",
    )
