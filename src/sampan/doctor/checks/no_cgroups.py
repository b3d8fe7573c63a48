"""``no-cgroups`` of NVIDIA's toolkit: false for engines of root, true for rootless ones."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, broken, ok
from sampan.doctor.looks.toolkit import CONFIGURATION, look_at_toolkit
from sampan.doctor.subject import Subject

BPF = "bpf_prog_query(BPF_CGROUP_DEVICE) failed: operation not permitted"


def check(subject: Subject) -> Iterator[Finding]:
    """It matters to the hook alone, that is in legacy mode or for ``docker --gpus``."""
    toolkit = look_at_toolkit(subject.host)
    if not toolkit.hook:
        yield ok("no-cgroups", "NVIDIA's hook is not installed")
        return
    for engine in subject.engines:
        if toolkit.no_cgroups and not engine.rootless and toolkit.hooks(engine):
            yield broken(
                "no-cgroups-rootful",
                f"no-cgroups is true, but {engine.kind} runs as root: its containers get no device rules",
                f"no-cgroups = true in {CONFIGURATION}",
                symptom="Failed to initialize NVML: Unknown Error (at once)",
                remedy="sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups=false --in-place",
            )
            return
    yield ok(
        "no-cgroups", f"no-cgroups is {str(toolkit.no_cgroups).lower()}, which fits", CONFIGURATION
    )
