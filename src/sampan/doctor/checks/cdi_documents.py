"""Whether each CDI document can be read, is valid, trustworthy, and names no device twice."""

import shlex
from collections.abc import Iterator, Sequence

from sampan.doctor.finding import Finding, broken, info, ok, warning
from sampan.doctor.looks.documents import USUAL, find_documents
from sampan.doctor.subject import Subject
from sampan.engines.cdi import load_registry
from sampan.injection.cdi_resolve import collect_devices

SYMPTOM = "unresolvable CDI devices nvidia.com/gpu=all"
GENERATE = "sudo sampan cdi generate --output /var/run/cdi/nvidia.yaml"


def check(subject: Subject) -> Iterator[Finding]:
    """Documents of any vendor in the usual directories and those of the engines."""
    host = subject.host
    directories = list_directories(subject)
    documents = find_documents(host, directories)
    if not documents:
        if host.inventory.platform == "none" or not subject.engines:
            yield ok("cdi-documents", "there is no CDI document, and nothing that needs one")
            return
        yield info("cdi-none", "there is no CDI document", ", ".join(directories), symptom=SYMPTOM,
            remedy=f"only for other engines: {GENERATE}",
        )  # fmt: skip
        return
    registry = load_registry([host.path(directory) for directory in directories])
    found = False
    for path, problem in registry.problems:
        found = True
        yield broken("cdi-invalid", f"{path} is of no use: every engine drops it whole", problem,
            symptom=SYMPTOM, remedy=f"sampan cdi validate {shlex.quote(path)}; {GENERATE}",
        )  # fmt: skip
    for text in registry.warnings:
        found = True
        cause = text.partition("; ")[0]
        yield warning("cdi-rights", cause, "mode and owner of the file or its directory",
            symptom=SYMPTOM if "cannot read" in cause else "",
            remedy=_choose_remedy(cause, [file.path for file in documents]),
        )  # fmt: skip
    for name, paths in collect_devices(registry.specs).conflicts.items():
        found = True
        yield broken("cdi-conflict", f"{name} is defined twice, so engines give it to nobody",
            ", ".join(paths), symptom=SYMPTOM, remedy=f"sudo rm {shlex.quote(paths[-1])}",
        )  # fmt: skip
    if not found:
        names = collect_devices(registry.specs).found
        yield ok("cdi-documents", f"{len(documents)} CDI documents define {len(names)} devices")


def list_directories(subject: Subject) -> tuple[str, ...]:
    """The usual directories and those that an installed engine reads."""
    more = [one for engine in subject.engines for one in engine.cdi_directories]
    return tuple(dict.fromkeys((*USUAL, *more)))


def _choose_remedy(cause: str, paths: Sequence[str]) -> str:
    """The command for a warning of ``driver.cdi_files``, which begins with a path."""
    places = [*paths, *(path.rpartition("/")[0] for path in paths)]
    place = next((one for one in places if cause.startswith(f"{one} ")), "FILE")
    command = "chown root:root" if " belongs to " in cause else "chmod o-w"
    if "cannot read" in cause:
        command = "chmod 0644"
    return f"sudo {command} {shlex.quote(place)}"
