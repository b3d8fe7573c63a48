"""``sampan doctor`` on CDI documents: unreadable, twice the same, stale, incomplete, not renewed."""

from pathlib import Path

import pytest

from support.doctor import (
    DOCUMENT,
    DoctorHost,
    add_document,
    diagnose,
    is_healthy,
    make_driver_host,
    the_trouble,
)


@pytest.fixture
def host(tmp_path: Path) -> DoctorHost:
    host = make_driver_host(tmp_path)
    host.add_link("/var/run", "/run")
    host.install_docker()
    return host


@pytest.mark.parametrize("check", ["cdi-documents", "cdi-stale", "cdi-complete", "cdi-engines"])
def test_a_fresh_document_gives_no_complaint(host: DoctorHost, check: str) -> None:
    add_document(host)
    assert is_healthy(diagnose(check, host))


def test_without_a_document_engines_cannot_resolve_anything(host: DoctorHost) -> None:
    found = the_trouble(diagnose("cdi-documents", host))
    assert (found.id, found.severity) == ("cdi-none", "info")
    found = the_trouble(diagnose("cdi-engines", host))
    assert (found.id, found.severity) == ("cdi-engine-no-document", "warning")
    assert "unresolvable CDI devices" in found.symptom
    assert "sampan cdi generate" in found.remedy


def test_a_broken_document_is_named_with_its_problem(host: DoctorHost) -> None:
    host.write(DOCUMENT, "cdiVersion: '0.5.0'\nkind: nvidia\ndevices: []\n")
    found = the_trouble(diagnose("cdi-documents", host))
    assert (found.id, found.severity) == ("cdi-invalid", "broken")
    assert DOCUMENT in found.cause


def test_a_document_that_only_root_can_read_is_named(host: DoctorHost) -> None:
    add_document(host, mode=0o600)
    found = the_trouble(diagnose("cdi-documents", host))
    assert found.id == "cdi-rights"
    assert "0600" in found.cause
    assert found.remedy == f"sudo chmod 0644 {host.root}{DOCUMENT}"


def test_a_directory_of_documents_that_everybody_may_write_is_named(host: DoctorHost) -> None:
    add_document(host)
    (host.root / "etc/cdi").chmod(0o777)
    found = the_trouble(diagnose("cdi-documents", host))
    assert found.remedy == f"sudo chmod o-w {host.root}/etc/cdi"


def test_a_device_that_two_documents_define_is_given_to_nobody(host: DoctorHost) -> None:
    add_document(host)
    add_document(host, "/etc/cdi/nvidia-old.yaml")
    found = [one for one in diagnose("cdi-documents", host) if one.severity == "broken"]
    assert {one.id for one in found} == {"cdi-conflict"}
    assert "nvidia.com/gpu=all" in " ".join(one.cause for one in found)


def test_a_document_of_files_that_are_gone_is_stale(host: DoctorHost) -> None:
    add_document(host)
    (host.root / "usr/bin/nvidia-smi").unlink()
    found = [one for one in diagnose("cdi-stale", host) if one.severity == "broken"]
    assert [one.id for one in found] == ["cdi-stale-path"]
    assert found[0].evidence == "/usr/bin/nvidia-smi"
    assert "stat /usr/bin/nvidia-smi: no such file" in found[0].symptom


def test_a_document_of_another_driver_than_the_loaded_one_is_stale(host: DoctorHost) -> None:
    add_document(host)
    host.load_module("590.10.01")
    found = the_trouble(diagnose("cdi-stale", host))
    assert (found.id, found.severity) == ("cdi-stale-version", "broken")
    assert "590.10.01" in found.cause


def test_a_document_from_before_a_change_of_the_host_is_told_by_its_mark(host: DoctorHost) -> None:
    add_document(host)
    host.add_gpu(1)
    found = the_trouble(diagnose("cdi-stale", host))
    assert (found.id, found.severity) == ("cdi-stale-fingerprint", "warning")
    assert "sampan cdi diff" in found.remedy


def test_a_document_made_before_all_gpus_were_there_is_incomplete(host: DoctorHost) -> None:
    add_document(host)
    host.add_gpu(1)
    found = the_trouble(diagnose("cdi-complete", host))
    assert found.id == "cdi-incomplete"
    assert "GPU 1 (/dev/nvidia1)" in found.evidence


def test_a_document_made_before_nvidia_uvm_was_loaded_is_incomplete(host: DoctorHost) -> None:
    host.remove_node("/dev/nvidia-uvm")
    add_document(host)
    host.add_node("/dev/nvidia-uvm", 238, 0)
    found = the_trouble(diagnose("cdi-complete", host))
    assert found.id == "cdi-no-uvm"
    assert "999" in found.symptom


def test_a_document_below_run_is_lost_at_reboot_unless_a_unit_renews_it(host: DoctorHost) -> None:
    add_document(host, "/run/cdi/nvidia.yaml")
    found = the_trouble(diagnose("cdi-refresh", host))
    assert found.id == "cdi-not-renewed"
    assert "after a reboot" in found.cause
    assert found.remedy == "sudo sampan cdi install-units"
    host.write("/etc/systemd/system/sampan-cdi-refresh.path", "[Path]\n")
    assert is_healthy(diagnose("cdi-refresh", host))


def test_an_engine_that_reads_other_directories_is_named(host: DoctorHost) -> None:
    add_document(host)
    host.install_docker(CDISpecDirs=["/opt/cdi"])
    found = the_trouble(diagnose("cdi-engines", host))
    assert found.id == "cdi-engine-directory"
    assert "/opt/cdi" in found.evidence


def test_var_run_and_run_are_the_same_directory_to_us_too(host: DoctorHost) -> None:
    add_document(host, "/run/cdi/nvidia.yaml")
    assert is_healthy(diagnose("cdi-engines", host))


def test_an_engine_with_cdi_switched_off_is_told_how_to_switch_it_on(host: DoctorHost) -> None:
    add_document(host)
    host.install_docker(ServerVersion="26.1.5", CDISpecDirs=[])
    found = the_trouble(diagnose("cdi-engines", host))
    assert found.id == "cdi-engine-off"
    assert '"features": {"cdi": true}' in found.remedy


def test_an_engine_too_old_for_the_documents_version_drops_it(host: DoctorHost) -> None:
    host.add_node("/dev/nvidia0", 195, 0, mode=0o660, gid=44)
    add_document(host)
    host.install_podman("4.3.1")
    found = the_trouble(diagnose("cdi-engines", host, engine="podman"))
    assert found.id == "cdi-engine-version"
    assert "--no-additional-gids" in found.remedy


def test_containerd_before_2_reads_cdi_only_when_told(host: DoctorHost) -> None:
    add_document(host)
    host.install("containerd", "containerd github.com/containerd/containerd 1.7.24 abc")
    assert the_trouble(diagnose("cdi-engines", host, engine="containerd")).id == "cdi-engine-off"
    host.write(
        "/etc/containerd/config.toml",
        'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nenable_cdi = true\n',
    )
    assert is_healthy(diagnose("cdi-engines", host, engine="containerd"))


def test_crio_reads_the_directories_of_its_last_drop_in(host: DoctorHost) -> None:
    add_document(host)
    host.install("crio", "crio version 1.31.0")
    assert is_healthy(diagnose("cdi-engines", host, engine="crio"))
    host.write("/etc/crio/crio.conf.d/50.conf", '[crio.runtime]\ncdi_spec_dirs = ["/srv/cdi"]\n')
    assert the_trouble(diagnose("cdi-engines", host, engine="crio")).id == "cdi-engine-directory"


def test_apptainer_runs_no_hooks_of_a_document(host: DoctorHost) -> None:
    add_document(host)
    host.install("apptainer", "apptainer version 1.5.0")
    assert is_healthy(diagnose("cdi-engines", host, engine="apptainer"))
    text = (host.root / DOCUMENT.lstrip("/")).read_text()
    hook = "  hooks:\n  - {hookName: createContainer, path: /usr/bin/sampan-hook}\n"
    assert text.count("\ncontainerEdits:\n") == 1
    host.write(DOCUMENT, text.replace("\ncontainerEdits:\n", f"\ncontainerEdits:\n{hook}"))
    assert the_trouble(diagnose("cdi-engines", host, engine="apptainer")).id == "cdi-engine-hooks"
