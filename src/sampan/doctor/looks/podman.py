"""Podman: ``podman info``, ``containers.conf``."""

from sampan.doctor.host import Host, find_version
from sampan.doctor.looks.configuration import (
    merge,
    parse_json,
    read_toml,
    read_toml_with_parts,
    table,
    words,
)
from sampan.doctor.subject import Engine

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
FIRST = (4, 1)


def look_at_podman(host: Host) -> Engine:
    """Ask podman, and read which CDI directories it was told."""
    program = host.find_program("podman")
    if not program:
        return Engine("podman")
    answer = host.ask(program, "info", "--format", "json")
    said = parse_json(answer.output)
    of_host = table(said, "host")
    version = find_version(str(table(said, "version").get("Version") or ""))
    if not version:
        version = find_version(host.ask(program, "--version").output)
    runtime = str(table(of_host, "ociRuntime").get("name") or "")
    knows = not version or version >= FIRST
    number = str(of_host.get("cgroupVersion") or "").removeprefix("v")
    return Engine(
        "podman",
        program,
        version,
        "" if of_host else (answer.said or "podman info said nothing").splitlines()[0],
        rootless=bool(table(of_host, "security").get("rootless", host.uid != 0)),
        cgroup_driver=str(of_host.get("cgroupManager") or ""),
        cgroup_version=int(number) if number.isdecimal() else 0,
        runtimes=(runtime,) if runtime else (),
        default_runtime=runtime,
        cdi_directories=_find_directories(host) if knows else (),
        cdi_switch="" if knows else "podman has CDI since 4.1",
    )


def _find_directories(host: Host) -> tuple[str, ...]:
    settings = read_toml(host, "/usr/share/containers/containers.conf")
    settings = merge(
        settings,
        read_toml_with_parts(
            host, "/etc/containers/containers.conf", "/etc/containers/containers.conf.d", ".conf"
        ),
    )
    home = host.environment.get("HOME", "")
    if host.uid != 0 and home.startswith("/"):
        settings = merge(settings, read_toml(host, f"{home}/.config/containers/containers.conf"))
    return words(table(settings, "engine").get("cdi_spec_dirs")) or CDI_DIRECTORIES
