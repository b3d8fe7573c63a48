"""``sampan doctor`` on other engines: docker's daemon, NVIDIA's toolkit, mounts, apt."""

import json
import os
from pathlib import Path

import pytest

from support.doctor import (
    DoctorHost,
    add_document,
    diagnose,
    is_healthy,
    make_driver_host,
    the_trouble,
)

REAPPLY = "cgroup-reapply"
MOUNTS = """22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw,nosuid - proc proc rw{proc}
24 22 0:6 / /run rw,nosuid - tmpfs tmpfs rw
25 22 0:7 / /tmp rw{tmp} - tmpfs tmpfs rw
"""


@pytest.fixture
def host(tmp_path: Path) -> DoctorHost:
    return make_driver_host(tmp_path)


@pytest.mark.parametrize(
    "check",
    [
        "engines", "docker-gpus", REAPPLY, "no-cgroups", "rootless-bpf", "swarm", "read-only-root",
        "mount-options", "apt-sources",
    ],
)  # fmt: skip
def test_a_host_without_engines_gives_no_complaint(host: DoctorHost, check: str) -> None:
    assert is_healthy(diagnose(check, host))


def test_an_engine_that_was_asked_for_and_is_absent_is_broken(host: DoctorHost) -> None:
    found = the_trouble(diagnose("engines", host, engine="docker"))
    assert (found.id, found.severity) == ("engine-absent", "broken")


def test_a_daemon_that_does_not_answer_is_told_in_its_own_words(host: DoctorHost) -> None:
    host.install("docker", "Docker version 28.3.0, build 1")
    host.answers["docker info"] = json.dumps({"ServerErrors": ["Cannot connect to the daemon"]})
    found = the_trouble(diagnose("engines", host))
    assert (found.id, found.severity) == ("engine-silent", "info")
    assert found.evidence == "Cannot connect to the daemon"


def test_engines_are_listed_with_version_and_cgroup_driver(host: DoctorHost) -> None:
    host.install_docker()
    host.install_podman(rootless=True)
    docker, podman = diagnose("engines", host)
    assert (docker.cause, podman.cause) == ("docker 28.3.0", "podman 5.4.0")
    assert "cgroup driver systemd" in docker.evidence
    assert "rootless" in podman.evidence


@pytest.mark.parametrize(
    ("version", "symptom"),
    [
        ("28.3.0", 'could not select device driver "" with capabilities: [[gpu]]'),
        ("29.0.1", "no known GPU vendor found"),
    ],
)
def test_docker_with_neither_hook_nor_document_refuses_gpus(
    host: DoctorHost, version: str, symptom: str
) -> None:
    host.install_docker(ServerVersion=version)
    found = the_trouble(diagnose("docker-gpus", host))
    assert (found.id, found.severity) == ("docker-no-gpus", "broken")
    assert symptom in found.symptom
    host.install_toolkit()
    assert the_trouble(diagnose("docker-gpus", host)).id == "docker-no-runtime"
    host.install_docker(ServerVersion=version, Runtimes={"runc": {}, "nvidia": {}})
    assert is_healthy(diagnose("docker-gpus", host))


def test_docker_with_a_document_alone_takes_devices_not_gpus(host: DoctorHost) -> None:
    host.install_docker()
    add_document(host)
    found = the_trouble(diagnose("docker-gpus", host))
    assert (found.id, found.severity) == ("docker-device-only", "info")
    host.install_docker(ServerVersion="29.0.0")
    assert is_healthy(diagnose("docker-gpus", host))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"DockerRootDir": "/var/snap/docker/common"}, "the snap"),
        ({"OperatingSystem": "Docker Desktop"}, "Docker Desktop"),
    ],
)
def test_the_snap_and_docker_desktop_do_not_see_the_driver(
    host: DoctorHost, changes: dict[str, object], kind: str
) -> None:
    host.install_docker(**changes)
    found = the_trouble(diagnose("docker-gpus", host))
    assert (found.id, found.severity) == ("docker-packaging", "broken")
    assert kind in found.cause


def test_a_hook_installed_after_the_daemon_began_needs_a_restart(host: DoctorHost) -> None:
    host.install_toolkit()
    host.install_docker(Runtimes={"runc": {}, "nvidia": {}})
    host.write("/run/docker.pid", "77\n")
    fields = " ".join(["S", *["0"] * 18, "100"])
    host.add_proc_file("77/stat", f"77 (dockerd) {fields} 0\n")
    hook = os.stat(host.root / "usr/bin/nvidia-container-runtime-hook")
    host.add_proc_file("stat", f"cpu 0\nbtime {int(hook.st_ctime) - 500}\n")
    found = the_trouble(diagnose("docker-gpus", host))
    assert found.id == "docker-not-restarted"
    assert found.remedy == "sudo systemctl restart docker"
    host.add_proc_file("stat", f"cpu 0\nbtime {int(hook.st_ctime) + 500}\n")
    assert is_healthy(diagnose("docker-gpus", host))


def test_a_configuration_newer_than_the_daemon_needs_a_restart(host: DoctorHost) -> None:
    host.install_docker()
    add_document(host)
    host.install_docker(ServerVersion="29.0.0")
    host.write("/run/docker.pid", "77\n")
    host.add_proc_file("77/stat", f"77 (dockerd) {' '.join(['S', *['0'] * 18, '100'])} 0\n")
    file = host.write("/etc/docker/daemon.json", "{}")
    host.add_proc_file("stat", f"btime {int(file.stat().st_mtime) - 500}\n")
    assert the_trouble(diagnose("docker-gpus", host)).id == "docker-configuration-newer"


def test_the_hook_and_systemds_cgroups_lose_gpus_at_daemon_reload(host: DoctorHost) -> None:
    host.install_toolkit("1.17.8")
    host.install_docker()
    found = the_trouble(diagnose(REAPPLY, host))
    assert found.id == "cgroup-hook-systemd"
    assert "Unknown Error" in found.symptom
    host.install_docker(CgroupDriver="cgroupfs")
    assert is_healthy(diagnose(REAPPLY, host))
    host.install_docker(ServerVersion="29.0.0")
    host.install_toolkit("1.18.2")
    assert is_healthy(diagnose(REAPPLY, host))


def test_runc_and_systemd_with_known_faults_are_named(host: DoctorHost) -> None:
    host.install_docker()
    host.install("runc", "runc version 1.1.5\ncommit: v1.1.5\nspec: 1.0.2-dev\n")
    assert the_trouble(diagnose(REAPPLY, host)).id == "cgroup-runc-version"
    host.install("runc", "runc version 1.1.12\n")
    assert is_healthy(diagnose(REAPPLY, host))
    host.install("systemctl", "systemd 237\n+PAM\n")
    assert the_trouble(diagnose(REAPPLY, host)).id == "cgroup-systemd-version"
    host.install("systemctl", "systemd 252 (252.39-1~deb12u1)\n+PAM\n")
    assert is_healthy(diagnose(REAPPLY, host))


def test_a_container_that_lost_its_device_rules_is_found(host: DoctorHost) -> None:
    group = "fs/cgroup/devices/docker/0123abcd"
    host.add_sys_file(f"{group}/devices.list", "c 1:3 rwm\nc 5:0 rwm\n")
    host.add_sys_file(f"{group}/cgroup.procs", "321\n")
    line = "90 80 0:5 /nvidia0 /dev/nvidia0 ro,nosuid - devtmpfs udev rw\n"
    host.add_proc_file("321/mountinfo", line)
    found = the_trouble(diagnose(REAPPLY, host))
    assert (found.id, found.severity) == ("cgroup-lost", "broken")
    assert "0123abcd" in found.cause
    host.add_sys_file(f"{group}/devices.list", "c 1:3 rwm\nc 195:* rw\n")
    assert is_healthy(diagnose(REAPPLY, host))


NO_CGROUPS = "[nvidia-container-cli]\nno-cgroups = true\n"


def test_no_cgroups_is_wrong_for_docker_of_root(host: DoctorHost) -> None:
    host.install_toolkit(settings=NO_CGROUPS)
    host.install_docker()
    found = the_trouble(diagnose("no-cgroups", host))
    assert (found.id, found.severity) == ("no-cgroups-rootful", "broken")
    host.install_toolkit(settings="")
    assert is_healthy(diagnose("no-cgroups", host))


def test_no_cgroups_is_needed_by_a_rootless_docker_with_the_hook(host: DoctorHost) -> None:
    host.install_toolkit()
    host.install_docker(SecurityOptions=["name=rootless"])
    found = the_trouble(diagnose("rootless-bpf", host))
    assert found.id == "bpf-rootless"
    assert "bpf_prog_query(BPF_CGROUP_DEVICE) failed" in found.symptom
    host.install_toolkit(settings=NO_CGROUPS)
    assert is_healthy(diagnose("rootless-bpf", host))
    assert is_healthy(diagnose("no-cgroups", host))


def test_podman_runs_nvidias_hook_only_where_it_is_told_to(host: DoctorHost) -> None:
    host.install_toolkit()
    host.install_podman(rootless=True)
    assert is_healthy(diagnose("rootless-bpf", host))
    host.write("/usr/share/containers/oci/hooks.d/oci-nvidia-hook.json", "{}")
    assert the_trouble(diagnose("rootless-bpf", host)).id == "bpf-rootless"


def test_bpf_hardening_stops_the_hook_of_root_too(host: DoctorHost) -> None:
    host.install_toolkit("1.17.8")
    host.add_proc_file("sys/net/core/bpf_jit_harden", "2\n")
    assert the_trouble(diagnose("rootless-bpf", host)).id == "bpf-harden"


def test_a_swarm_resource_that_the_toolkit_does_not_read_gives_no_gpu(host: DoctorHost) -> None:
    host.install_toolkit()
    host.install_docker()
    host.write("/etc/docker/daemon.json", '{"node-generic-resources": ["NVIDIA-GPU=GPU-1"]}')
    found = the_trouble(diagnose("swarm", host))
    assert found.id == "swarm-resource"
    assert "swarm-resource=DOCKER_RESOURCE_NVIDIA_GPU" in found.remedy
    host.install_toolkit(settings='swarm-resource = "DOCKER_RESOURCE_NVIDIA-GPU"\n')
    assert is_healthy(diagnose("swarm", host))


def test_containers_with_gpus_and_a_read_only_root_are_listed(host: DoctorHost) -> None:
    host.install_toolkit("1.19.0")
    host.install_docker()
    host.answers["docker ps"] = "abc\ndef\n"
    settings = {"ReadonlyRootfs": True, "DeviceRequests": [{"Capabilities": [["gpu"]]}]}
    described = [
        {"Name": "/model", "HostConfig": settings},
        {"Name": "/web", "HostConfig": {"ReadonlyRootfs": True}},
    ]
    host.answers["docker inspect"] = json.dumps(described)
    found = the_trouble(diagnose("read-only-root", host))
    assert found.id == "read-only-root-hook"
    assert found.evidence == "model"
    host.install_toolkit("1.20.1")
    assert is_healthy(diagnose("read-only-root", host))


def test_hidepid_and_noexec_stop_the_hook_where_it_is_installed(host: DoctorHost) -> None:
    host.add_proc_file("self/mountinfo", MOUNTS.format(proc=",hidepid=2", tmp=",noexec"))
    assert {one.severity for one in diagnose("mount-options", host)} == {"info"}
    host.install_toolkit()
    found = {one.id: one.severity for one in diagnose("mount-options", host)}
    assert found == {"mount-hidepid": "warning", "mount-noexec": "warning"}
    host.add_proc_file("self/mountinfo", MOUNTS.format(proc="", tmp=""))
    assert is_healthy(diagnose("mount-options", host))


def test_two_lists_with_two_keys_for_one_repository_stop_apt(host: DoctorHost) -> None:
    base = "/etc/apt/sources.list.d"
    place = "https://nvidia.github.io/libnvidia-container/stable/deb/amd64"
    host.write(
        f"{base}/a.list", f"deb [arch=amd64 signed-by=/usr/share/keyrings/n.gpg] {place} /\n"
    )
    host.write(f"{base}/b.list", f"# a comment\ndeb {place}/ /\n")
    found = the_trouble(diagnose("apt-sources", host))
    assert "Conflicting values set for option Signed-By" in found.symptom
    assert f"{base}/b.list" in found.evidence
    (host.root / base.lstrip("/") / "b.list").unlink()
    assert is_healthy(diagnose("apt-sources", host))


def test_stanzas_of_apt_count_like_lines_unless_disabled(host: DoctorHost) -> None:
    base = "/etc/apt/sources.list.d"
    host.write(f"{base}/a.list", "deb https://example.org/cuda stable main\n")
    stanza = "Types: deb\nURIs: https://example.org/cuda\nSuites: stable\nSigned-By: /k.gpg\n"
    host.write(f"{base}/b.sources", stanza)
    assert the_trouble(diagnose("apt-sources", host)).id == "apt-signed-by"
    host.write(f"{base}/b.sources", f"Enabled: no\n{stanza}")
    assert is_healthy(diagnose("apt-sources", host))
