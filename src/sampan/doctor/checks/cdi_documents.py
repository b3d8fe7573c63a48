"""Whether each CDI document can be read, is valid, trustworthy, and names no device twice."""

from collections.abc import Iterator

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
            symptom=SYMPTOM, remedy=f"sampan cdi validate {path}; {GENERATE}",
        )  # fmt: skip
    for text in registry.warnings:
        found = True
        cause, _, remedy = text.partition("; ")
        yield warning("cdi-rights", cause, "mode and owner of the file or its directory",
            symptom=SYMPTOM if "cannot read" in cause else "",
            remedy=f"sudo {remedy}" if remedy.startswith("chmod") else "ls -l the file; sudo chown root it",
        )  # fmt: skip
    for name, paths in collect_devices(registry.specs).conflicts.items():
        found = True
        yield broken("cdi-conflict", f"{name} is defined twice, so engines give it to nobody",
            ", ".join(paths), symptom=SYMPTOM, remedy=f"sudo rm {paths[-1]}",
        )  # fmt: skip
    if not found:
        names = collect_devices(registry.specs).found
        yield ok("cdi-documents", f"{len(documents)} CDI documents define {len(names)} devices")


def list_directories(subject: Subject) -> tuple[str, ...]:
    """The usual directories and those that an installed engine reads."""
    more = [one for engine in subject.engines for one in engine.cdi_directories]
    return tuple(dict.fromkeys((*USUAL, *more)))
