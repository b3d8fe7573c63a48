"""Whether each installed engine reads CDI, from the directories and of the versions that are there."""

import shlex
from collections.abc import Iterator

from sampan.doctor.checks.cdi_documents import GENERATE, SYMPTOM, list_directories
from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.host import show_version
from sampan.doctor.looks.documents import list_edits, load_documents
from sampan.doctor.looks.engines import CDI_NAMES
from sampan.doctor.subject import Engine, Subject
from sampan.errors import UsageError
from sampan.injection.cdi_engines import engine_problem
from sampan.injection.cdi_resolve import LoadedSpec

NO_HOOKS = "apptainer runs no hooks"
SWITCH_ON = {
    "docker": 'add {"features": {"cdi": true}} to /etc/docker/daemon.json, then sudo systemctl restart docker',
    "containerd": "set enable_cdi = true in the CRI plugin's table of /etc/containerd/config.toml,"
    " then sudo systemctl restart containerd",
}


def check(subject: Subject) -> Iterator[Finding]:
    """One statement for each engine."""
    host = subject.host
    documents = load_documents(host, list_directories(subject))
    engines = [engine for engine in subject.engines if engine.program]
    if not engines:
        yield ok("cdi-engines", "no other container engine is looked at")
    for engine in engines:
        found = list(_judge(subject, engine, documents))
        yield from found
        if not found:
            yield ok(
                "cdi-engines",
                f"{engine.kind} {show_version(engine.version)} reads the CDI documents that there are",
                f"from {', '.join(engine.cdi_directories) or 'nowhere'};"
                f" {len(documents)} documents of NVIDIA's",
            )


def _judge(
    subject: Subject, engine: Engine, documents: tuple[LoadedSpec, ...]
) -> Iterator[Finding]:
    host = subject.host
    if not engine.cdi_directories:
        if host.inventory.platform == "none" and not documents:
            return
        yield warning(
            "cdi-engine-off",
            f"{engine.kind} {show_version(engine.version)} reads no CDI documents",
            engine.cdi_switch,
            symptom=SYMPTOM,
            remedy=SWITCH_ON.get(engine.kind, f"update {engine.kind}, or use sampan run"),
        )
        return
    if not documents:
        if host.inventory.platform != "none":
            yield warning(
                "cdi-engine-no-document",
                f"{engine.kind} cannot be asked for GPUs by CDI: there is no document",
                f"it reads {', '.join(engine.cdi_directories)}",
                symptom=SYMPTOM,
                remedy=GENERATE,
            )
        return
    read = [host.path(directory) for directory in engine.cdi_directories]
    seen = [one for one in documents if one.path.rpartition("/")[0] in read]
    for loaded in documents:
        if loaded not in seen:
            yield warning(
                "cdi-engine-directory",
                f"{engine.kind} does not read the directory of {loaded.path}",
                f"it reads {', '.join(engine.cdi_directories)}",
                symptom=SYMPTOM,
                remedy=f"sudo sampan cdi generate --output {engine.cdi_directories[-1]}/nvidia.yaml",
            )
    for loaded in seen:
        yield from _judge_version(engine, loaded)
        if engine.kind == "apptainer" and any(edits.hooks for edits in list_edits(loaded)):
            yield warning(
                "cdi-engine-hooks",
                f"{NO_HOOKS}: links and loader cache of {loaded.path} will be missing",
                "the document has hooks",
                symptom="libcuda.so.1: cannot open shared object file: No such file or directory",
                remedy=f"sudo sampan cdi generate --disable-hook all --output {shlex.quote(loaded.path)}",
            )


def _judge_version(engine: Engine, loaded: LoadedSpec) -> Iterator[Finding]:
    name = CDI_NAMES.get(engine.kind, engine.kind)
    try:
        problem = engine_problem(loaded.spec.version, f"{name}-{show_version(engine.version)}")
    except UsageError:
        # An engine, or a release, of which nothing is known: no statement is better than a guess.
        return
    if problem:
        yield warning(
            "cdi-engine-version",
            f"{problem}: it drops {loaded.path} whole",
            f"cdiVersion {loaded.spec.version}",
            symptom=SYMPTOM,
            remedy=f"sudo sampan cdi generate --no-additional-gids --output {shlex.quote(loaded.path)}",
        )
