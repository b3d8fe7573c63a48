"""NVIDIA's hook in a rootless engine, or under BPF hardening: it may not change device programs."""

from collections.abc import Iterator

from sampan.doctor.checks.no_cgroups import BPF
from sampan.doctor.finding import Finding, broken, ok, warning
from sampan.doctor.looks.toolkit import CONFIGURATION, look_at_toolkit
from sampan.doctor.subject import Subject

HARDEN = "/proc/sys/net/core/bpf_jit_harden"


def check(subject: Subject) -> Iterator[Finding]:
    """Hook, cgroup v2 and no right to use bpf(2)."""
    host = subject.host
    toolkit = look_at_toolkit(host)
    found = [
        broken(
            "bpf-rootless",
            f"rootless {engine.kind} runs NVIDIA's hook, which may not set device programs",
            f"no-cgroups is not true in {CONFIGURATION}",
            symptom=BPF,
            remedy="use CDI (sudo sampan cdi generate --output /etc/cdi/nvidia.yaml), or sudo"
            " nvidia-ctk config --set nvidia-container-cli.no-cgroups=true --in-place",
        )
        for engine in subject.engines
        if engine.rootless and toolkit.hooks(engine) and not toolkit.no_cgroups
    ]
    hooked = toolkit.hook and toolkit.mode == "legacy"
    if hooked and not found and host.read(HARDEN).strip() == "2":
        found.append(
            warning(
                "bpf-harden",
                "BPF hardening keeps NVIDIA's hook from changing a container's device program",
                f"{HARDEN} is 2",
                symptom=BPF,
                remedy="sudo sysctl net.core.bpf_jit_harden=1, or use CDI",
            )
        )
    yield from found
    if not found:
        yield ok("rootless-bpf", "no hook here has to change device programs without the right to")
