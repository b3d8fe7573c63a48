"""Docker: ``docker info`` (moby api/types/system), ``/etc/docker/daemon.json``, the daemon's pid file."""

from typing import Any

from sampan.doctor.host import Host, find_version
from sampan.doctor.looks.configuration import parse_json, read_json, table, words
from sampan.doctor.subject import Engine

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
SINCE_ON = (28, 2)
"""From here on CDI is on unless ``features.cdi`` is false; from 25 on it can be switched on."""
FIRST = (25,)


def look_at_docker(host: Host) -> Engine:
    """Ask the daemon; where it does not answer, read its files."""
    program = host.find_program("docker")
    if not program:
        return Engine("docker")
    answer = host.ask(program, "info", "--format", "{{json .}}")
    said = parse_json(answer.output)
    errors = words(said.get("ServerErrors"))
    known = bool(said.get("ServerVersion"))
    problem = "" if known else (errors[0] if errors else answer.said or "docker info said nothing")
    configuration = read_json(host, "/etc/docker/daemon.json")
    version = find_version(str(said.get("ServerVersion") or ""))
    if not version:
        version = find_version(host.ask(program, "--version").output)
    directories, switch = _find_cdi(said, configuration, version)
    security = " ".join(words(said.get("SecurityOptions")))
    runtimes = said.get("Runtimes") or configuration.get("runtimes") or {}
    number = str(said.get("CgroupVersion") or "")
    return Engine(
        "docker",
        program,
        version,
        problem.splitlines()[0] if problem else "",
        rootless="name=rootless" in security,
        cgroup_driver=str(said.get("CgroupDriver") or _cgroup_driver(configuration)),
        cgroup_version=int(number) if number.isdecimal() else 0,
        runtimes=tuple(sorted(runtimes)) if isinstance(runtimes, dict) else (),
        default_runtime=str(
            said.get("DefaultRuntime") or configuration.get("default-runtime") or "runc"
        ),
        cdi_directories=directories,
        cdi_switch=switch,
        packaging=_find_packaging(host, program, said),
        started=_find_start(host),
        resources=words(configuration.get("node-generic-resources")),
    )


def _find_cdi(
    said: dict[str, Any], configuration: dict[str, Any], version: tuple[int, ...]
) -> tuple[tuple[str, ...], str]:
    """The daemon's word counts; ``info`` has it since 27, and empty means off."""
    told = words(said.get("CDISpecDirs"))
    if told:
        return told, ""
    # A daemon that does not answer leaves the client's empty fields behind.
    told_none = bool(said.get("ServerVersion")) and "CDISpecDirs" in said
    switch = table(configuration, "features").get("cdi")
    if version and version < FIRST:
        return (), f"docker {version[0]} is older than 25"
    if switch is False or (switch is not True and version < SINCE_ON) or told_none:
        return (
            (),
            "features.cdi is not true in /etc/docker/daemon.json, or the daemon was not restarted since",
        )
    return words(configuration.get("cdi-spec-dirs")) or CDI_DIRECTORIES, ""


def _cgroup_driver(configuration: dict[str, Any]) -> str:
    for word in words(configuration.get("exec-opts")):
        name, _, value = word.partition("=")
        if name == "native.cgroupdriver":
            return value
    return ""


def _find_packaging(host: Host, program: str, said: dict[str, Any]) -> str:
    if "desktop" in str(said.get("OperatingSystem") or "").lower():
        return "desktop"
    target = host.link_target(program)
    root = str(said.get("DockerRootDir") or "")
    if program.startswith("/snap/") or "/snap" in target or root.startswith("/var/snap/"):
        return "snap"
    return ""


def _find_start(host: Host) -> float:
    text = host.read("/run/docker.pid").strip()
    return host.start_time(int(text)) if text.isdecimal() else 0.0
