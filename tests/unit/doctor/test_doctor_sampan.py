"""``sampan doctor`` on what our own engine needs, and on the way to NGC."""

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import sampan.doctor.checks.registries as registries
from support.doctor import DoctorHost, diagnose, is_healthy, the_trouble


@pytest.fixture
def host(tmp_path: Path) -> DoctorHost:
    host = DoctorHost(tmp_path)
    host.uid, host.groups = 1000, (1000,)
    host.write("/etc/passwd", "ann:x:1000:1000::/home/ann:/bin/sh\n")
    host.environment = {"HOME": str(tmp_path / "home"), "SAMPAN_STORE": str(tmp_path / "store")}
    return host


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "apparmor_restrict"),
        ("kernel/unprivileged_userns_clone", "0", "unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "max_user_namespaces=15000"),
    ],
)
def test_a_setting_that_forbids_user_namespaces_is_named_with_its_command(
    host: DoctorHost, setting: str, value: str, remedy: str
) -> None:
    assert is_healthy(diagnose("user-namespaces", host))
    host.add_proc_file(f"sys/{setting}", f"{value}\n")
    found = the_trouble(diagnose("user-namespaces", host))
    assert found.severity == "broken"
    assert remedy in found.remedy
    host.uid = 0
    assert the_trouble(diagnose("user-namespaces", host)).severity == "info"


def test_a_user_without_further_ids_has_containers_of_one_user(host: DoctorHost) -> None:
    host.add_program("/usr/bin/newuidmap")
    host.add_program("/usr/bin/newgidmap")
    found = the_trouble(diagnose("subordinate-ids", host))
    assert found.id == "subordinate-ids-missing"
    assert "for ann in /etc/subuid and /etc/subgid" in found.evidence
    host.write("/etc/subuid", "bob:100000:65536\n")
    found = the_trouble(diagnose("subordinate-ids", host))
    assert "--add-subuids 165536-231071 " in found.remedy
    for name in ("subuid", "subgid"):
        host.write(f"/etc/{name}", "ann:100000:65536\n")
    assert is_healthy(diagnose("subordinate-ids", host))
    (host.root / "usr/bin/newgidmap").unlink()
    assert the_trouble(diagnose("subordinate-ids", host)).remedy == "sudo apt-get install uidmap"


def test_images_that_cannot_be_mounted_are_unpacked_or_not_used_at_all(host: DoctorHost) -> None:
    assert the_trouble(diagnose("image-mounts", host)).severity == "broken"
    host.add_program("/usr/bin/unsquashfs")
    assert "no /dev/fuse" in the_trouble(diagnose("image-mounts", host)).evidence
    host.add_node("/dev/fuse", 10, 229)
    found = the_trouble(diagnose("image-mounts", host))
    assert (found.id, found.remedy) == ("image-mounts-unpacked", "sudo apt-get install squashfuse")
    host.add_program("/usr/bin/squashfuse_ll")
    assert is_healthy(diagnose("image-mounts", host))
    host.forbidden = {"/dev/fuse"}
    assert "may not open" in the_trouble(diagnose("image-mounts", host)).evidence


def test_limits_need_a_delegated_cgroup_of_version_2(host: DoctorHost) -> None:
    assert the_trouble(diagnose("cgroups", host)).id == "cgroups-none"
    host.add_sys_file("fs/cgroup/unified/cgroup.procs", "")
    assert the_trouble(diagnose("cgroups", host)).id == "cgroups-not-unified"
    host.add_sys_file("fs/cgroup/cgroup.controllers", "cpu memory pids\n")
    host.add_proc_file("self/cgroup", "0::/user.slice/run.scope\n")
    assert the_trouble(diagnose("cgroups", host)).id == "cgroups-not-delegated"
    host.add_sys_file("fs/cgroup/user.slice/cgroup.subtree_control", "cpu memory pids\n")
    host.add_sys_file("fs/cgroup/user.slice/cgroup.procs", "")
    assert is_healthy(diagnose("cgroups", host))


def test_without_a_runtime_nothing_starts_and_helpers_are_told(host: DoctorHost) -> None:
    found = diagnose("programs", host)
    assert [one.id for one in found if one.severity == "broken"] == ["programs-no-runtime"]
    assert {one.id for one in found if one.severity == "info"} == {
        "programs-no-conmon", "programs-no-pasta", "programs-no-catatonit",
    }  # fmt: skip
    host.install("crun", "crun version 1.8.1\ncommit: f8a096be\n")
    for name in ("conmon", "pasta", "catatonit"):
        host.add_program(f"/usr/bin/{name}")
    found = diagnose("programs", host)
    assert is_healthy(found)
    assert found[0].evidence == "/usr/bin/crun 1.8.1"


def _make_store(host: DoctorHost) -> Path:
    store = Path(host.environment["SAMPAN_STORE"])
    for name in ("images/sha256", "refs"):
        (store / name).mkdir(parents=True)
    return store


def test_a_store_in_order_gives_no_complaint(
    host: DoctorHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.doctor.checks.store.free_bytes", lambda _: 100 << 30)
    assert is_healthy(diagnose("store", host))
    _make_store(host)
    assert is_healthy(diagnose("store", host))


def test_a_store_that_everybody_may_write_is_broken(
    host: DoctorHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.doctor.checks.store.free_bytes", lambda _: 100 << 30)
    _make_store(host).chmod(0o777)
    assert the_trouble(diagnose("store", host)).id == "store-open"


def test_little_room_and_left_over_files_are_told(
    host: DoctorHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.doctor.checks.store.free_bytes", lambda _: 1 << 30)
    store = _make_store(host)
    old = store / "images/sha256/.tmp-1-abc-x.sif"
    old.touch()
    os.utime(old, (0, 0))
    found = {one.id: one.severity for one in diagnose("store", host)}
    assert found == {"store-room": "warning", "store-left-over": "info"}
    assert old.exists()


@pytest.mark.parametrize(
    ("kind", "identity"), [("nfs4", "store-network"), ("tmpfs", "store-volatile")]
)
def test_the_stores_file_system_is_told(
    host: DoctorHost, monkeypatch: pytest.MonkeyPatch, kind: str, identity: str
) -> None:
    monkeypatch.setattr("sampan.doctor.checks.store.free_bytes", lambda _: 100 << 30)
    point = host.environment["SAMPAN_STORE"].rpartition("/")[0]
    host.add_proc_file(
        "self/mountinfo",
        f"1 1 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {point} rw - {kind} x rw\n",
    )
    assert the_trouble(diagnose("store", host)).id == identity


def test_keys_that_others_can_read_are_told_and_not_printed(host: DoctorHost) -> None:
    host.environment["HOME"] = "/home/ann"
    host.uid = os.geteuid()
    text = '{"auths": {"nvcr.io": {"auth": "c2VjcmV0OnNlY3JldA=="}}}'
    host.write("/home/ann/.docker/config.json", text, 0o644)
    host.write("/home/ann/.config/sampan/auth.json", text, 0o600)
    found = the_trouble(diagnose("credentials", host))
    assert (found.id, found.severity) == ("credentials-open", "warning")
    assert "c2Vj" not in repr(found)
    host.write("/home/ann/.docker/config.json", '{"auths": {"nvcr.io": {}}}', 0o644)
    assert is_healthy(diagnose("credentials", host))
    host.write("/home/ann/.config/sampan/auth.json", text, 0o644)
    assert the_trouble(diagnose("credentials", host)).severity == "broken"


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status", [401, 404])
def test_a_registry_that_refuses_without_a_key_is_reachable(
    host: DoctorHost, server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    server.status = status  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}/v2/"
    monkeypatch.setattr(registries, "ENDPOINTS", ((url, "manifests"),))
    assert is_healthy(diagnose("registries", host))


def test_a_registry_behind_a_closed_port_is_unreachable(
    host: DoctorHost, server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 407  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}/v2/"
    monkeypatch.setattr(registries, "ENDPOINTS", ((url, "manifests"), ("http://127.0.0.1:1/", "x")))
    assert [one.id for one in diagnose("registries", host)] == ["registry-proxy", "registry-unreachable"]  # fmt: skip
