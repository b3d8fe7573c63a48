"""Containers with a read-only root file system, into which hooks of NVIDIA's cannot write."""

import json
from collections.abc import Iterator
from typing import Any

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.looks.toolkit import look_at_toolkit
from sampan.doctor.subject import Engine, Subject

FIXED = (1, 20, 1)
MAXIMUM_CONTAINERS = 200
SYMPTOM = "failed to create /etc/nvidia: read-only file system (nvidia-cdi-hook, nvidia-ctk hook)"


def check(subject: Subject) -> Iterator[Finding]:
    """Ask docker and podman for their containers with GPUs and ``ReadonlyRootfs``."""
    toolkit = look_at_toolkit(subject.host)
    if not toolkit.is_installed or toolkit.version >= FIXED:
        yield ok("read-only-root", "no hook here needs to write to a read-only root")
        return
    found = False
    for engine in subject.engines:
        if engine.kind not in ("docker", "podman") or not engine.program or engine.problem:
            continue
        names = [name for name in _list_containers(subject, engine) if name]
        if names:
            found = True
            yield warning(
                "read-only-root-hook",
                f"containers of {engine.kind} with GPUs have a read-only root, which NVIDIA's hooks need",
                ", ".join(names[:5]),
                symptom=SYMPTOM,
                remedy="update the toolkit to 1.20.1, or docker run --read-only --tmpfs /etc/nvidia",
            )
    if not found:
        yield ok("read-only-root", "no container with GPUs has a read-only root")


def _list_containers(subject: Subject, engine: Engine) -> Iterator[str]:
    listed = subject.host.ask(engine.program, "ps", "--all", "--quiet")
    identities = listed.output.split()[:MAXIMUM_CONTAINERS]
    if not identities:
        return
    answer = subject.host.ask(engine.program, "inspect", *identities)
    try:
        documents: Any = json.loads(answer.output)
    except (ValueError, RecursionError):
        return
    for document in documents if isinstance(documents, list) else ():
        settings = document.get("HostConfig") if isinstance(document, dict) else None
        if not isinstance(settings, dict) or settings.get("ReadonlyRootfs") is not True:
            continue
        wanted = json.dumps(
            [settings.get("DeviceRequests"), settings.get("Runtime"), settings.get("Devices")]
        ).lower()
        if "gpu" in wanted or "nvidia" in wanted:
            yield str(document.get("Name") or document.get("Id") or "").lstrip("/")
