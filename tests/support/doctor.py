"""Hosts, engines and images for the doctor, made of directories; findings of one check."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sampan.doctor.examine import examine
from sampan.doctor.finding import Finding
from sampan.doctor.host import Host
from sampan.doctor.looks.engines import LOOKS
from sampan.doctor.subject import Engine, Image, Subject
from sampan.driver.fingerprint import fingerprint_text
from sampan.engines.cdi import make_spec, render_spec
from sampan.injection.cdi_generate import CdiOptions
from sampan.kernel.bounded_program import ProgramAnswer
from support.driver_host import FakeHost
from support.plan_facts import make_facts

V = "580.95.05"
DOCUMENT = "/etc/cdi/nvidia.yaml"
DOCKER: dict[str, object] = {
    "ServerVersion": "28.3.0",
    "CgroupDriver": "systemd",
    "CgroupVersion": "2",
    "Runtimes": {"runc": {}},
    "DefaultRuntime": "runc",
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "DockerRootDir": "/var/lib/docker",
}
"""What ``docker info --format '{{json .}}'`` of Debian sid's docker says, as far as we read it."""


class DoctorHost(FakeHost):
    """A host whose programs answer from a table: ``answers["docker info"] = text``."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.answers: dict[str, str] = {}
        self.uid = 0
        self.groups: tuple[int, ...] = ()
        self.environment: dict[str, str] = {"HOME": "/home/user"}

    def view(self) -> Host:
        return Host(
            str(self.root),
            proc_root=str(self.proc),
            sys_root=str(self.sys),
            environment=self.environment,
            uid=self.uid,
            groups=self.groups,
            run=self._answer,
            node_stat=self.node_stat,
            node_usable=self.node_usable,
            find_inventory=self.take,
        )

    def _answer(self, words: Sequence[str]) -> ProgramAnswer:
        name = words[0].rpartition("/")[2]
        for key in (f"{name} {words[1]}", name):
            if key in self.answers:
                return ProgramAnswer(0, self.answers[key], "")
        return ProgramAnswer(1, "", "it says nothing")

    def remove_node(self, path: str) -> None:
        target = self.root / path.lstrip("/")
        target.unlink()
        del self._nodes[str(target)]

    def install(self, name: str, version: str) -> None:
        self.add_program(f"/usr/bin/{name}")
        self.answers[f"{name} --version"] = version

    def install_docker(self, **changes: object) -> None:
        self.install("docker", "Docker version 28.3.0, build 1")
        self.answers["docker info"] = json.dumps({**DOCKER, **changes})

    def install_podman(self, version: str = "5.4.0", *, rootless: bool = False) -> None:
        self.install("podman", f"podman version {version}")
        self.answers["podman info"] = json.dumps(
            {
                "host": {
                    "security": {"rootless": rootless},
                    "cgroupManager": "systemd",
                    "cgroupVersion": "v2",
                    "ociRuntime": {"name": "crun"},
                },
                "version": {"Version": version},
            }
        )

    def install_toolkit(self, version: str = "1.17.8", settings: str = "") -> None:
        self.install("nvidia-ctk", f"NVIDIA Container Toolkit CLI version {version}")
        self.add_program("/usr/bin/nvidia-container-runtime-hook")
        self.add_program("/usr/bin/nvidia-container-runtime")
        self.add_file("/etc/nvidia-container-runtime/config.toml", settings.encode())

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        return self.add_file(path, text.encode(), mode)

    def add_proc_file(self, path: str, text: str) -> None:
        target = self.proc / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def add_sys_file(self, path: str, text: str) -> None:
        target = self.sys / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def make_driver_host(base: Path) -> DoctorHost:
    """One GPU with a driver that works, graphics included."""
    host = DoctorHost(base)
    host.load_module(V)
    host.add_control_nodes()
    host.add_gpu(0)
    for stem, soname in (
        ("libcuda", "libcuda.so.1"),
        ("libGLX_nvidia", "libGLX_nvidia.so.0"),
        ("libEGL_nvidia", "libEGL_nvidia.so.0"),
    ):
        host.add_library(f"/usr/lib64/{stem}.so.{V}", soname)
    host.add_link("/usr/lib64/libcuda.so.1", f"libcuda.so.{V}")
    host.add_program("/usr/bin/nvidia-smi")
    host.write("/usr/share/vulkan/icd.d/nvidia_icd.json", "{}")
    host.write("/usr/share/glvnd/egl_vendor.d/10_nvidia.json", "{}")
    host.add_proc_file("modules", "nvidia_uvm 1 0 - Live 0x0\nnvidia 1 1 - Live 0x0\n")
    return host


def add_document(host: DoctorHost, path: str = DOCUMENT, *, mode: int = 0o644) -> None:
    """What ``sampan cdi generate`` writes for the host now, with paths as the host has them."""
    inventory = host.take()
    made = make_spec(inventory, CdiOptions())
    text = render_spec(made.spec, as_json=False, fingerprint=fingerprint_text(inventory))
    host.write(path, text.replace(str(host.root.resolve()), ""), mode)


def diagnose(
    name: str,
    host: DoctorHost,
    *,
    engine: str = "",
    image: Image | None = None,
    engines: Sequence[Engine] | None = None,
) -> list[Finding]:
    """The findings of one check; the engines are looked at as they are on the host."""
    view = host.view()
    if engines is None:
        looks = [LOOKS[engine]] if engine else list(LOOKS.values())
        engines = [found for found in (look(view) for look in looks) if found.program or engine]
    return list(examine(Subject(view, tuple(engines), image), [name]))


def make_image(environment: Mapping[str, str] | None = None, **facts: object) -> Image:
    """An image called ``tool`` of ``make_facts`` with changes."""
    return Image("tool", make_facts(**facts), environment or {})


def the_trouble(findings: Sequence[Finding]) -> Finding:
    """The one finding that is not ok."""
    bad = [finding for finding in findings if finding.severity != "ok"]
    assert len(bad) == 1, findings
    return bad[0]


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether the check spoke, and had nothing to complain of."""
    return bool(findings) and all(finding.severity == "ok" for finding in findings)
