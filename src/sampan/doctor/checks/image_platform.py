"""Whether the driver can be imported into an image at all: its libc, its architecture, its wish."""

import os
from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, info, ok
from sampan.doctor.subject import Subject
from sampan.gpus.variables import VISIBLE
from sampan.model.facts import MACHINES, architecture_word


def check(subject: Subject) -> Iterator[Finding]:
    """The driver's libraries are glibc's and this machine's."""
    image = subject.image
    assert image is not None
    facts = image.facts
    found = False
    if facts.libc == "musl":
        found = True
        yield broken(
            "image-musl", f"{image.name} is of musl libc; NVIDIA's driver libraries need glibc",
            f"loader {facts.interpreter}",
            symptom="Error loading shared library ld-linux-x86-64.so.2: No such file or directory",
            remedy="choose an image of Debian, Ubuntu, RHEL or SUSE; only static programs work in this one",
        )  # fmt: skip
    libraries = subject.host.inventory.libraries
    machine = next((one.machine for one in libraries if one.bits == 64), os.uname().machine)
    if MACHINES.get(facts.architecture, facts.architecture) != machine:
        found = True
        yield broken(
            "image-architecture", f"{image.name} is for {facts.architecture}, this host is {machine}",
            f"loader {facts.interpreter or 'none'}", symptom="exec format error",
            remedy=f"sampan pull --platform linux/{architecture_word(machine)} {image.name}",
        )  # fmt: skip
    visible = image.environment.get(VISIBLE)
    if visible in ("void", "none"):
        found = True
        yield info(
            "image-declines", f"{image.name} says {VISIBLE}={visible}: by itself it gets no GPU",
            "--gpus of sampan and docker overrides it",
        )  # fmt: skip
    if not found:
        yield ok("image-platform", f"{facts.libc} {facts.libc_version}, {facts.architecture}")
