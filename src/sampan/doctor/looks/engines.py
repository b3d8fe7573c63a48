"""Which engines can be looked at, by the words of ``--engine``."""

from collections.abc import Callable

from sampan.doctor.host import Host
from sampan.doctor.looks.apptainer import look_at_apptainer
from sampan.doctor.looks.docker import look_at_docker
from sampan.doctor.looks.kubernetes import look_at_containerd, look_at_crio
from sampan.doctor.looks.podman import look_at_podman
from sampan.doctor.subject import Engine

LOOKS: dict[str, Callable[[Host], Engine]] = {
    "docker": look_at_docker,
    "podman": look_at_podman,
    "containerd": look_at_containerd,
    "crio": look_at_crio,
    "apptainer": look_at_apptainer,
}
CDI_NAMES = {"crio": "cri-o"}
"""Words of ``injection.cdi_engines`` that differ from ours."""


def look_at_engines(host: Host, wanted: str = "") -> tuple[Engine, ...]:
    """The engines that are installed; with ``wanted`` that one alone, installed or not."""
    if wanted:
        return (LOOKS[wanted](host),)
    found = (look(host) for look in LOOKS.values())
    return tuple(engine for engine in found if engine.program)
