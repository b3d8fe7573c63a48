"""``sampan doctor`` where the real thing answers: NVML's binding, docker, podman, ordinary users."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.doctor.examine import examine
from sampan.doctor.finding import Finding
from sampan.doctor.host import Host
from sampan.doctor.subject import Engine, Subject
from support.described_host import make_described_host
from support.doctor import DoctorHost, diagnose, the_trouble
from support.driver_host import FakeHost
from support.engine_host import REPOSITORY, USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration


def view(fake: FakeHost) -> Host:
    return Host(
        str(fake.root),
        proc_root=str(fake.proc),
        sys_root=str(fake.sys),
        environment={},
        uid=0,
        groups=(),
        node_stat=fake.node_stat,
        node_usable=fake.node_usable,
        find_inventory=lambda: fake.take(nvml=True),
    )


def ask(
    check: str, base: Path, description: str, engines: tuple[Engine, ...] = ()
) -> list[Finding]:
    host = make_described_host(base, description)
    return list(examine(Subject(view(host), engines), [check]))


@pytest.mark.parametrize("description", ["one-gpu", "eight-gpus", "mig"])
@pytest.mark.parametrize("check", ["nvml", "driver-versions", "driver"])
def test_a_driver_whose_nvml_answers_is_sound(tmp_path: Path, check: str, description: str) -> None:
    assert {finding.severity for finding in ask(check, tmp_path, description)} == {"ok"}


@pytest.mark.parametrize(
    ("description", "symptom"),
    [
        ("mismatch", "Driver/library version mismatch"),
        ("unknown-error", "Failed to initialize NVML: Unknown Error"),
        ("crash", "load library failed"),
    ],
)
def test_an_nvml_that_fails_is_broken_with_the_words_that_users_see(
    tmp_path: Path, description: str, symptom: str
) -> None:
    found = the_trouble(ask("nvml", tmp_path, description))
    assert (found.id, found.severity) == ("nvml-fails", "broken")
    assert symptom in found.symptom
    assert found.remedy


def test_the_mismatch_that_nvml_tells_of_is_found_by_the_check_of_versions(tmp_path: Path) -> None:
    found = the_trouble(ask("driver-versions", tmp_path, "mismatch"))
    assert (found.id, found.severity) == ("driver-version-mismatch", "broken")


def test_a_gpu_that_fell_off_the_bus_is_named(tmp_path: Path) -> None:
    found = [one for one in ask("nvml", tmp_path, "vanished") if one.severity == "warning"]
    assert [one.id for one in found] == ["nvml-gpu-fails"]
    assert "dmesg" in found[0].remedy


def test_mig_devices_that_no_document_names_cannot_be_asked_of_docker(tmp_path: Path) -> None:
    docker = Engine("docker", "/usr/bin/docker", (28, 3, 0), cdi_directories=("/etc/cdi",))
    found = [one for one in ask("mig", tmp_path, "mig", (docker,)) if one.id == "mig-docker"]
    assert len(found) == 1
    assert "--device nvidia.com/gpu=" in found[0].remedy
    assert "MIG-" in found[0].evidence


def test_a_gpu_in_mig_mode_without_devices_is_of_no_use(tmp_path: Path) -> None:
    from support.described_host import describe

    said = describe("mig")
    for gpu in said["gpus"]:
        gpu["mig_devices"] = []
    host = make_described_host(tmp_path, said)
    found = list(examine(Subject(view(host)), ["mig"]))
    assert {one.id for one in found} == {"mig-no-devices"}


def test_docker_and_podman_of_sid_are_read_as_they_describe_themselves(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the chroot of Debian sid needs root")
    script = "docker info --format '{{json .}}'; echo; echo ====; podman info --format json"
    done = subprocess.run(
        ["scripts/engines-sid", "--docker", "sh", "-c", script],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    docker, _, podman = done.stdout.partition("====")
    host = DoctorHost(tmp_path)
    host.install("docker", "")
    host.install("podman", "")
    host.answers.update({"docker info": docker, "podman info": podman})
    first, second = diagnose("engines", host)
    assert (first.severity, second.severity) == ("ok", "ok")
    assert first.cause.startswith(("docker 28.", "docker 29."))
    assert "runtime runc" in first.evidence
    assert "cgroup driver" in first.evidence
    assert second.cause.startswith(("podman 5.", "podman 6."))
    assert {one.severity for one in diagnose("cdi-engines", host)} == {"ok"}


@pytest.fixture(scope="module")
def machine() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.mark.parametrize("user", USERS)
def test_every_kind_of_user_gets_an_answer_of_this_machine(machine: EngineHost, user: str) -> None:
    done = machine.run("doctor", "--json", "--image", machine.image, user=user, timeout=120)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    code = {"ok": 0, "info": 0, "warning": 1, "broken": 2}[document["worst"]]
    assert done.returncode == code
    assert not [one for one in document["findings"] if one["id"] == "check-failed"]
    found = {one["check"]: one for one in document["findings"]}
    assert set(document["checks"]) <= set(found)
    assert found["user-namespaces"]["severity"] == "ok"
    assert found["image-mounts"]["severity"] == "ok"
    ids = found["subordinate-ids"]["id"]
    assert ids == ("subordinate-ids-missing" if user == "ordinary" else "subordinate-ids")


def test_a_file_that_only_root_can_read_is_named_to_others(machine: EngineHost) -> None:
    home = machine.home("ordinary")
    keys = home / ".docker" / "config.json"
    keys.parent.mkdir(exist_ok=True)
    keys.write_text("{}")
    keys.chmod(0o604)
    keys.parent.chmod(0o700)
    done = machine.run("doctor", "credentials", user="ordinary")
    assert done.returncode == 0, done.stderr
    assert "info[not-seen]: without root the check credentials" in done.stdout
    assert str(keys) in done.stdout
