"""Whether this user has ranges of further ids, so that images with several users work."""

import stat
from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.subject import Subject
from sampan.kernel.userns import WANTED_IDS, find_subordinate

SYMPTOM = "setgroups: Operation not permitted; chown: Invalid argument (apt-get in a container)"
HELPERS = ("newuidmap", "newgidmap")


def check(subject: Subject) -> Iterator[Finding]:
    """/etc/subuid, /etc/subgid and the two setuid programs."""
    host = subject.host
    if host.uid == 0:
        yield ok("subordinate-ids", "root needs no ranges of further ids")
        return
    login = _find_login(host.read("/etc/passwd"), host.uid)
    found = False
    lacking = [
        path
        for path in ("/etc/subuid", "/etc/subgid")
        if find_subordinate(host.read(path), host.uid, login) is None
    ]
    if lacking:
        found = True
        yield warning(
            "subordinate-ids-missing",
            "this user has no range of further ids: containers have one user only",
            f"no line with {WANTED_IDS} ids for {login or host.uid} in {' and '.join(lacking)}",
            symptom=SYMPTOM,
            remedy=_lend(
                host.read("/etc/subuid") + host.read("/etc/subgid"), login or str(host.uid)
            ),
        )
    for name in HELPERS:
        path = host.find_program(name)
        status = host.status(path) if path else None
        if status is None:
            found = True
            yield warning(
                "subordinate-ids-helper", f"{name} is not installed", "not in the system directories",
                symptom=SYMPTOM, remedy="sudo apt-get install uidmap",
            )  # fmt: skip
        elif (
            host.is_this
            and not status.st_mode & stat.S_ISUID
            and not _has_capability(host.path(path))
        ):
            found = True
            yield warning(
                "subordinate-ids-helper", f"{path} is neither setuid root nor has it cap_setuid",
                f"mode {stat.S_IMODE(status.st_mode):04o}", symptom=SYMPTOM,
                remedy="sudo apt-get install --reinstall uidmap",
            )  # fmt: skip
    if not found:
        yield ok(
            "subordinate-ids", f"{login or host.uid} has {WANTED_IDS} further user and group ids"
        )


def _lend(tables: str, login: str) -> str:
    """The command that gives a user the first range after all that are given."""
    first = 100_000
    for line in tables.splitlines():
        fields = line.split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            first = max(first, int(fields[1]) + int(fields[2]))
    ids = f"{first}-{first + WANTED_IDS - 1}"
    return f"sudo usermod --add-subuids {ids} --add-subgids {ids} {login}"


def _find_login(passwd: str, uid: int) -> str:
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(uid):
            return fields[0]
    return ""


def _has_capability(path: str) -> bool:
    import os

    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False
