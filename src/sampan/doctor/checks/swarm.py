"""Docker Swarm's generic resources: which variable NVIDIA's toolkit reads them from."""

from collections.abc import Iterator

from sampan.doctor.finding import Finding, ok, warning
from sampan.doctor.looks.toolkit import CONFIGURATION, look_at_toolkit
from sampan.doctor.subject import Subject

VARIABLE = "DOCKER_RESOURCE_"


def check(subject: Subject) -> Iterator[Finding]:
    """``node-generic-resources`` of the daemon against ``swarm-resource`` of the toolkit."""
    docker = subject.engine("docker")
    gpus = [
        word
        for word in (docker.resources if docker else ())
        if "gpu" in word.partition("=")[0].lower()
    ]
    toolkit = look_at_toolkit(subject.host)
    if not gpus or not toolkit.is_installed:
        yield ok("swarm", "docker offers no GPUs to a swarm, or NVIDIA's toolkit is not installed")
        return
    kind = gpus[0].partition("=")[0]
    wanted = f"{VARIABLE}{kind.upper().replace('-', '_')}"
    if wanted not in toolkit.swarm_resource.upper().replace("-", "_").split(","):
        yield warning(
            "swarm-resource",
            "services of the swarm get no GPU: the toolkit does not read the variable of this resource",
            f"node-generic-resources has {gpus[0]}; swarm-resource in {CONFIGURATION} is"
            f" {toolkit.swarm_resource or 'not set'}, mode {toolkit.mode}",
            symptom="No devices were found (in a service of a swarm)",
            remedy=f"sudo nvidia-ctk config --set swarm-resource={wanted} --in-place",
        )
        return
    yield ok("swarm", f"the toolkit reads {wanted}", CONFIGURATION)
