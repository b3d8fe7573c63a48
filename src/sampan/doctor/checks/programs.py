"""The programs that ``sampan run`` starts: runtime, monitor, network, init."""

from collections.abc import Iterator
from typing import NamedTuple

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.host import show_version
from sampan.doctor.subject import Subject


class Helper(NamedTuple):
    """A program that some options need."""

    name: str
    package: str
    use: str
    elsewhere: str = ""


HELPERS: tuple[Helper, ...] = (
    Helper("conmon", "conmon", "detached containers (--detach)", "/usr/libexec/podman/conmon"),
    Helper("pasta", "passt", "a network of the container's own (--network private)"),
    Helper("catatonit", "catatonit", "--init", "/usr/libexec/podman/catatonit"),
)


def check(subject: Subject) -> Iterator[Finding]:
    """A runtime must be there; the others when their option is used."""
    host = subject.host
    found = []
    for kind in ("crun", "runc"):
        path = host.find_program(kind)
        if path:
            found.append(f"{path} {show_version(host.command_version(kind))}")
    if not found:
        yield broken(
            "programs-no-runtime", "no OCI runtime is installed: no container can be started",
            "neither crun nor runc", symptom="error[runtime-missing]: no OCI runtime is installed",
            remedy="sudo apt-get install crun",
        )  # fmt: skip
    else:
        yield ok("programs", "the OCI runtime is there", ", ".join(found))
        if "/crun " not in found[0]:
            yield info(
                "programs-slow-runtime", "runc serves, but crun starts containers three times as fast",
                found[0], remedy="sudo apt-get install crun",
            )  # fmt: skip
    for helper in HELPERS:
        if host.find_program(helper.name) or (helper.elsewhere and host.exists(helper.elsewhere)):
            continue
        yield info(
            f"programs-no-{helper.name}", f"{helper.name} is not installed: {helper.use} is refused",
            "not on PATH, nor in the system directories",
            remedy=f"sudo apt-get install {helper.package}",
        )  # fmt: skip
