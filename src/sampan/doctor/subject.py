"""What the checks look at: one host, the engines on it, perhaps an image."""

from collections.abc import Mapping
from typing import NamedTuple

from sampan.doctor.host import Host
from sampan.model.facts import ImageFacts


class Engine(NamedTuple):
    """A container engine as it describes itself, and as its configuration files do.

    Attributes:
        kind: ``docker``, ``podman``, ``containerd``, ``crio`` or ``apptainer``.
        program: absolute path; empty when it is not installed.
        version: as numbers; empty when unknown.
        problem: why it did not answer; empty when it did.
        rootless: whether it runs without root.
        cgroup_driver: ``systemd``, ``cgroupfs``; empty when unknown.
        cgroup_version: 1 or 2; 0 when unknown.
        runtimes: names of its OCI runtimes. ``default_runtime`` is one of them.
        cdi_directories: where it reads CDI documents; empty = it does not.
        cdi_switch: why it reads none, e.g. ``enable_cdi = false``; empty when it does.
        packaging: ``snap``, ``desktop``, or empty for an ordinary one.
        started: seconds since the epoch when its daemon began; 0 when unknown.
        resources: generic resources that the node offers, docker's words.
    """

    kind: str
    program: str = ""
    version: tuple[int, ...] = ()
    problem: str = ""
    rootless: bool = False
    cgroup_driver: str = ""
    cgroup_version: int = 0
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    cdi_directories: tuple[str, ...] = ()
    cdi_switch: str = ""
    packaging: str = ""
    started: float = 0.0
    resources: tuple[str, ...] = ()


class Image(NamedTuple):
    """An image of the store: its name, facts and ENV."""

    name: str
    facts: ImageFacts
    environment: Mapping[str, str]


class Subject(NamedTuple):
    """Everything that is looked at.

    Attributes:
        engines: those that are installed, or the one that was asked for.
        image: None when none was named.
    """

    host: Host
    engines: tuple[Engine, ...] = ()
    image: Image | None = None

    def engine(self, kind: str) -> Engine | None:
        """The engine of a kind that is installed."""
        return next((one for one in self.engines if one.kind == kind and one.program), None)
