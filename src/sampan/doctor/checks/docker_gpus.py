"""Whether ``docker run --gpus`` can work: hook or CDI document, a daemon that knows it, a real docker."""

from collections.abc import Iterator

from sampan.doctor.checks.cdi_documents import GENERATE
from sampan.doctor.finding import Finding, broken, info, ok, warning
from sampan.doctor.host import show_version
from sampan.doctor.looks.documents import load_documents
from sampan.doctor.looks.toolkit import Toolkit, look_at_toolkit
from sampan.doctor.subject import Engine, Subject

SYMPTOM = 'could not select device driver "" with capabilities: [[gpu]]'
SYMPTOM_29 = "failed to discover GPU vendor from CDI: no known GPU vendor found"
RESTART = "sudo systemctl restart docker"


def check(subject: Subject) -> Iterator[Finding]:
    """``--gpus`` means a CDI document from docker 29 on, NVIDIA's hook before (and as second)."""
    engine = subject.engine("docker")
    if engine is None:
        yield ok("docker-gpus", "docker is not installed, or not looked at")
        return
    if subject.host.inventory.platform == "none" and not engine.packaging:
        yield ok("docker-gpus", "there is no driver that docker could give to containers")
        return
    found = list(_judge(subject, engine, look_at_toolkit(subject.host)))
    yield from found
    if not found:
        yield ok("docker-gpus", f"docker {show_version(engine.version)} can be asked for GPUs")


def _judge(subject: Subject, engine: Engine, toolkit: Toolkit) -> Iterator[Finding]:
    host = subject.host
    if engine.packaging:
        kind = "the snap" if engine.packaging == "snap" else "Docker Desktop"
        yield broken(
            "docker-packaging", f"docker is {kind}, which does not see the host's driver",
            engine.program,
            symptom="load library failed: libnvidia-ml.so.1: cannot open shared object file",
            remedy="sudo snap remove docker && sudo apt-get install docker.io"
            if engine.packaging == "snap"
            else "docker context use default, with docker.io or docker-ce installed",
        )  # fmt: skip
        return
    documents = load_documents(host, engine.cdi_directories) if engine.cdi_directories else ()
    by_cdi = engine.version >= (29,)
    if not documents and not toolkit.hook:
        yield broken(
            "docker-no-gpus",
            "docker has neither a CDI document nor NVIDIA's hook, so --gpus is refused",
            f"docker {show_version(engine.version)}; no nvidia-container-runtime-hook on its PATH;"
            f" CDI from {', '.join(engine.cdi_directories) or 'nowhere'}",
            symptom=SYMPTOM_29 if by_cdi else SYMPTOM,
            remedy=f"{GENERATE}, then docker run --device nvidia.com/gpu=all",
        )
    elif documents and not toolkit.hook and not by_cdi:
        yield info(
            "docker-device-only",
            "docker has a CDI document but no hook: --device nvidia.com/gpu=all works, --gpus does not",
            f"docker {show_version(engine.version)} takes CDI for --gpus from 29 on", symptom=SYMPTOM,
            remedy="docker run --device nvidia.com/gpu=all",
        )  # fmt: skip
    if toolkit.hook and engine.started:
        status = host.status(toolkit.hook)
        if status is not None and status.st_ctime > engine.started:
            yield warning(
                "docker-not-restarted",
                "NVIDIA's hook was installed after the docker daemon began; it looks only once",
                f"{toolkit.hook}, daemon pid file /run/docker.pid", symptom=SYMPTOM, remedy=RESTART,
            )  # fmt: skip
    configuration = host.status("/etc/docker/daemon.json")
    if configuration is not None and 0 < engine.started < configuration.st_mtime:
        yield warning(
            "docker-configuration-newer",
            "/etc/docker/daemon.json was changed after the docker daemon began",
            "the daemon reads it when it starts", symptom=SYMPTOM, remedy=RESTART,
        )  # fmt: skip
    if toolkit.runtime and "nvidia" not in engine.runtimes and not documents:
        yield info(
            "docker-no-runtime",
            "docker does not know the runtime nvidia; --runtime=nvidia is refused",
            f"runtimes: {', '.join(engine.runtimes) or 'none'}",
            symptom="unknown or invalid runtime name: nvidia",
            remedy=f"sudo nvidia-ctk runtime configure --runtime=docker && {RESTART}",
        )
