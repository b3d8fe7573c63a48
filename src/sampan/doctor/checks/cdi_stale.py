"""Whether CDI documents still fit this host's driver: paths, versions, fingerprint."""

import re
import shlex
from collections.abc import Iterator

from sampan.doctor.checks.cdi_documents import list_directories
from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.looks.documents import list_edits, list_host_paths, load_documents
from sampan.doctor.subject import Subject
from sampan.driver.fingerprint import fingerprint_text
from sampan.engines.cdi import read_fingerprint
from sampan.errors import SampanError
from sampan.injection.cdi_resolve import LoadedSpec

MAXIMUM_NAMED = 3
VERSIONED = re.compile(r"\.so\.(\d{3,}\.\d+(?:\.\d+)?)$")


def check(subject: Subject) -> Iterator[Finding]:
    """Each document of NVIDIA's devices, against the files of the host and the loaded module."""
    documents = load_documents(subject.host, list_directories(subject))
    if not documents:
        yield ok("cdi-stale", "no CDI document of NVIDIA's is here")
        return
    for loaded in documents:
        found = list(_judge(subject, loaded))
        yield from found
        if not found:
            yield ok("cdi-stale", f"{loaded.path} fits the driver that is loaded")


def _judge(subject: Subject, loaded: LoadedSpec) -> Iterator[Finding]:
    host = subject.host
    renew = f"sudo sampan cdi generate --output {shlex.quote(loaded.path)}"
    paths = list_host_paths(list_edits(loaded))
    missing = [path for path in paths if not host.exists(path) and path not in host.unseen]
    if missing:
        yield broken(
            "cdi-stale-path",
            f"{loaded.path} names {len(missing)} files that are not on this host",
            ", ".join(missing[:MAXIMUM_NAMED]),
            symptom=f"stat {missing[0]}: no such file or directory; crun: cannot stat",
            remedy=renew,
        )
    version = host.inventory.module_version
    named = {found[1] for path in paths if (found := VERSIONED.search(path))}
    if version and named and version not in named:
        yield broken(
            "cdi-stale-version",
            f"{loaded.path} is of driver {', '.join(sorted(named))}, but {version} is loaded",
            "version in the names of its libraries",
            symptom="Failed to initialize NVML: Driver/library version mismatch",
            remedy=renew,
        )
        return
    try:
        marked = read_fingerprint(loaded.path)
    except SampanError:
        marked = ""
    if marked and not missing and marked != fingerprint_text(host.inventory):
        yield warning(
            "cdi-stale-fingerprint",
            f"{loaded.path} was made when this host's driver, nodes or MIG devices were others",
            f"its mark is {marked}",
            remedy=f"sampan cdi diff {shlex.quote(loaded.path)} shows what changed; {renew}",
        )
