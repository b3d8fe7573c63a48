"""``sampan-runtime`` before raw runc and crun: each way to ask, each way to refuse, nothing left behind."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.described_host import make_described_host
from support.dropin_host import LIBRARIES, NODES, ONE_HIERARCHY, DropinHost

pytestmark = pytest.mark.integration
LOOK = (*LIBRARIES, *NODES)
DEVICES = "/var/run/nvidia-container-devices"
THIRD_PARTY = ("pynvml", "yaml", "tomlkit", "rich", "urllib3")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropinHost]:
    if os.geteuid() != 0:
        pytest.skip("raw runtimes need root here")
    base = tmp_path_factory.mktemp("dropin")
    yield DropinHost(base)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def host(shared: DropinHost, request: pytest.FixtureRequest) -> DropinHost:
    shared.configure()
    return shared


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "b-" + "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.mark.parametrize("low_level", ["runc", "crun"])
@pytest.mark.parametrize(
    ("value", "gpus"),
    [("0", (0,)), ("1", (1,)), ("all", (0, 1)), ("none", ()), ("nvidia.com/gpu=1", (1,)),
     ("runtime.nvidia.com/gpu=0", (0,))],
)  # fmt: skip
def test_the_variable_gives_exactly_the_gpus_that_it_names(
    host: DropinHost, name: str, low_level: str, value: str, gpus: tuple[int, ...]
) -> None:
    host.configure(runtime=f'runtimes = ["{low_level}"]')
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES=value)
    done = host.run(bundle)
    assert (done.stderr, done.stdout.splitlines()) == ("", host.seen(*gpus))


@pytest.mark.parametrize("variables", [{}, {"NVIDIA_VISIBLE_DEVICES": "void"}, {"NVIDIA_VISIBLE_DEVICES": ""}])  # fmt: skip
def test_a_container_that_asks_for_nothing_is_left_as_it_is(
    host: DropinHost, name: str, variables: dict[str, str]
) -> None:
    bundle = host.make_bundle(name, *LOOK, **variables)
    before = (bundle / "config.json").read_bytes()
    identity = (bundle / "config.json").stat().st_ino
    done = host.run(bundle)
    assert (done.stderr, done.stdout.splitlines()) == ("", host.seen_nothing())
    assert (bundle / "config.json").read_bytes() == before
    assert (bundle / "config.json").stat().st_ino == identity


def test_create_start_delete_in_the_working_directory(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    container = f"sampan-{os.getpid()}-created"
    out = bundle / "out"
    with out.open("w") as stream:
        created = subprocess.run(
            [str(host.runtime), "create", container],
            env=host.environment(), cwd=bundle, stdout=stream, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert created.returncode == 0, out.read_text()
    try:
        assert host.call("start", container).returncode == 0
        while json.loads(host.call("state", container).stdout)["status"] != "stopped":
            os.sched_yield()
    finally:
        host.call("delete", "--force", container)
    assert out.read_text().splitlines() == host.seen(0)


def test_members_order_mode_and_owner_of_the_configuration_stay(
    host: DropinHost, name: str
) -> None:
    bundle = host.make_bundle(name, NVIDIA_VISIBLE_DEVICES="0")
    path = bundle / "config.json"
    path.chmod(0o640)
    os.chown(path, 1234, 4321)
    before = json.loads(path.read_text())
    assert host.run(bundle).returncode == 0
    after = json.loads(path.read_text())
    assert list(after)[: len(before)] == list(before)
    assert after["x-unknown"] == before["x-unknown"]
    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 1234, 4321)
    assert sorted(child.name for child in bundle.iterdir()) == [
        "config.json", "config.json.sampan-edits", "rootfs",
    ]  # fmt: skip


def test_a_second_start_of_a_bundle_changes_nothing_more(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="all")
    assert host.run(bundle).stdout.splitlines() == host.seen(0, 1)
    once = (bundle / "config.json").read_bytes()
    assert host.run(bundle).stdout.splitlines() == host.seen(0, 1)
    assert (bundle / "config.json").read_bytes() == once


def test_a_bundle_used_again_with_fewer_gpus_keeps_none_of_the_others(
    host: DropinHost, name: str
) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="all")
    host.run(bundle)
    config = json.loads((bundle / "config.json").read_text())
    words = [w for w in config["process"]["env"] if not w.startswith("NVIDIA_VISIBLE_DEVICES")]
    config["process"]["env"] = [*words, "NVIDIA_VISIBLE_DEVICES=1"]
    (bundle / "config.json").write_text(json.dumps(config))
    assert host.run(bundle).stdout.splitlines() == host.seen(1)
    config["process"]["env"] = words
    (bundle / "config.json").write_text(json.dumps(config))
    assert host.run(bundle).stdout.splitlines()[-3:] == host.seen_nothing()[-3:]


def test_no_empty_file_of_the_driver_stays_in_the_container(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="all")
    assert host.run(bundle).stdout.splitlines() == host.seen(0, 1)
    left = [path for path in (bundle / "rootfs").rglob("*") if path.is_file()]
    assert [path for path in left if not path.is_symlink() and path.stat().st_size == 0] == []
    assert not list((bundle / "rootfs/run/sampan/driver").iterdir())


@pytest.mark.parametrize("low_level", ["runc", "crun"])
def test_a_read_only_root(host: DropinHost, name: str, low_level: str) -> None:
    host.configure(runtime=f'runtimes = ["{low_level}"]')
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    host.edit(bundle, root={"path": "rootfs", "readonly": True})
    done = host.run(bundle)
    assert (done.stderr, done.stdout.splitlines()) == ("", host.seen(0))


def test_a_user_namespace(host: DropinHost, name: str) -> None:
    host.configure(runtime='runtimes = ["crun"]')
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    config = json.loads((bundle / "config.json").read_text())
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    linux = {**config["linux"], "uidMappings": ids, "gidMappings": ids}
    linux["namespaces"] = [*linux["namespaces"], {"type": "user"}, {"type": "network"}]
    host.edit(bundle, linux=linux)
    subprocess.run(["chown", "-R", "100000:100000", str(bundle / "rootfs")], check=True)
    parents = [
        bundle,
        *(p for p in bundle.parents if p.is_relative_to("/tmp") and str(p) != "/tmp"),
    ]
    modes = [(place, place.stat().st_mode) for place in parents]
    try:
        for place in parents:
            place.chmod(0o755)
        done = host.run(bundle)
    finally:
        for place, mode in modes:
            place.chmod(mode)
    assert (done.stderr, done.stdout.splitlines()) == ("", host.seen(0))


def test_an_ordinary_users_own_runtime(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="1")
    config = json.loads((bundle / "config.json").read_text())
    ids = [{"containerID": 0, "hostID": 65534, "size": 1}]
    linux = {"uidMappings": ids, "gidMappings": ids}
    linux["namespaces"] = [*config["linux"]["namespaces"], {"type": "user"}]
    mounts = [one for one in config["mounts"] if one["type"] != "sysfs"]
    host.edit(bundle, linux=linux, mounts=mounts)
    run_time = bundle / "run-time"
    run_time.mkdir(mode=0o700)
    subprocess.run(["chown", "-R", "65534:65534", str(bundle)], check=True)
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    words = [str(host.runtime), "--root", str(run_time / "runc"), "--rootless=true"]
    parents = [
        bundle,
        *(p for p in bundle.parents if p.is_relative_to("/tmp") and str(p) != "/tmp"),
    ]
    modes = [(place, place.stat().st_mode) for place in parents]
    try:
        for place in parents:
            place.chmod(0o755)
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", ONE_HIERARCHY, "sh",
             *become, *words, "run", "--bundle", str(bundle), f"sampan-{os.getpid()}-user"],
            env={**host.environment(), "XDG_RUNTIME_DIR": str(run_time)},
            capture_output=True, text=True,
        )  # fmt: skip
    finally:
        for place, mode in modes:
            place.chmod(mode)
    assert done.stdout.splitlines() == host.seen(1), done.stderr
    assert list((run_time / "sampan/dropin").glob("plan-*.json"))


@pytest.mark.parametrize(
    ("value", "nodes"),
    [("0:1", None), ("0", "error[gpu-mig]")],
)
def test_mig_devices_come_with_their_parent_and_access_nodes(
    host: DropinHost, name: str, tmp_path: Path, value: str, nodes: str | None
) -> None:
    mig = make_described_host(tmp_path / "mig", "mig", real_nodes=True)
    host.config.write_text(
        f'[nvidia-container-cli]\nroot = "{mig.root}"\n[sampan]\n'
        f'proc-root = "{mig.proc}"\nsys-root = "{mig.sys}"\n'
    )
    inventory = mig.take(nvml=True)
    device = inventory.gpus[0].mig_devices[1]
    others = {
        node.path for gpu in inventory.gpus for part in gpu.mig_devices for node in part.nodes
    }
    others -= {node.path for node in device.nodes}
    given = [inventory.gpus[0].nodes[0], *device.nodes]
    look = [node.path for node in given] + sorted(others)
    bundle = host.make_bundle(name, *look, NVIDIA_VISIBLE_DEVICES=value)
    done = host.run(bundle)
    if nodes is not None:
        assert nodes in done.stderr
        return
    lines = [f"{node.path} {node.major}:{node.minor}" for node in given]
    assert done.stdout.splitlines() == lines + [f"{path} absent" for path in sorted(others)]


def test_annotations_count_before_the_variable(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, "$NVIDIA_VISIBLE_DEVICES", NVIDIA_VISIBLE_DEVICES="all")
    host.edit(bundle, annotations={"cdi.k8s.io/plugin_1": "nvidia.com/gpu=1"})
    assert host.run(bundle).stdout.splitlines() == [*host.seen(1), "$NVIDIA_VISIBLE_DEVICES 1"]


def test_mounts_count_where_the_site_lets_them(host: DropinHost, name: str) -> None:
    top = (
        "accept-nvidia-visible-devices-as-volume-mounts = true\n"
        "accept-nvidia-visible-devices-envvar-when-unprivileged = false"
    )
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="all")
    host.configure(top)
    done = host.run(bundle)
    assert done.stdout.splitlines() == host.seen_nothing()
    assert "is ignored: the container is not privileged" in done.stderr
    config = json.loads((bundle / "config.json").read_text())
    marker = {"destination": f"{DEVICES}/0", "type": "bind", "source": "/dev/null", "options": ["bind"]}  # fmt: skip
    host.edit(bundle, mounts=[*config["mounts"], marker])
    assert host.run(bundle).stdout.splitlines() == host.seen(0)


def test_a_privileged_container_may_use_the_variable_in_any_case(
    host: DropinHost, name: str
) -> None:
    host.configure("accept-nvidia-visible-devices-envvar-when-unprivileged = false")
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["capabilities"] = {"bounding": ["CAP_SYS_ADMIN"]}
    host.edit(bundle, process=config["process"])
    assert host.run(bundle).stdout.splitlines() == host.seen(0)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"NVIDIA_VISIBLE_DEVICES": "7"}, "error[gpu-unavailable]"),
        ({"NVIDIA_VISIBLE_DEVICES": "acme.com/x=1"}, "error[cdi-unresolvable]"),
        (
            {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_REQUIRE_CUDA": "cuda>=99.0"},
            "error[requirement]",
        ),
        (
            {"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_DRIVER_CAPABILITIES": "flying"},
            "error[unknown-capability]",
        ),
        ({"NVIDIA_VISIBLE_DEVICES": "0", "NVIDIA_MIG_CONFIG_DEVICES": "all"}, "error[mig-rights]"),
    ],
)
def test_what_cannot_be_given_is_refused_where_the_engine_reads_it(
    host: DropinHost, name: str, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    bundle = host.make_bundle(name, *LOOK, **variables)
    before = (bundle / "config.json").read_bytes()
    log = tmp_path / "log.json"
    done = host.run(bundle, "--log", str(log), "--log-format", "json")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "remedy:" in done.stderr
    line = json.loads(log.read_text().splitlines()[-1])
    assert line["level"] == "error"
    assert said in line["msg"]
    assert (bundle / "config.json").read_bytes() == before


def test_the_hook_of_nvidias_toolkit_is_taken_out(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    old = {"path": "/nowhere/nvidia-container-runtime-hook", "args": ["x", "prestart"]}
    host.edit(bundle, hooks={"prestart": [old]})
    assert host.run(bundle).stdout.splitlines() == host.seen(0)
    assert "prestart" not in json.loads((bundle / "config.json").read_text())["hooks"]


def test_a_gpu_that_goes_is_noticed_at_the_next_start(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="all")
    assert host.run(bundle).stdout.splitlines() == host.seen(0, 1)
    node = host.cdi.host.root / "dev/nvidia1"
    away = host.base / "nvidia1-away"
    node.rename(away)
    try:
        assert host.run(bundle).stdout.splitlines() == host.seen(0)
    finally:
        away.rename(node)
    assert host.run(bundle).stdout.splitlines() == host.seen(0, 1)


@pytest.mark.parametrize("words", [["--version"], ["features"], ["--root", "/tmp", "list"]])
def test_other_calls_go_straight_through(host: DropinHost, words: list[str]) -> None:
    done = host.call(*words)
    straight = subprocess.run(["runc", *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        straight.returncode,
        straight.stdout,
        straight.stderr.replace("runc:", "runc:"),
    )


def test_other_calls_go_to_the_runtime_that_the_configuration_names_now(
    host: DropinHost, name: str
) -> None:
    bundle = host.make_bundle(name)
    assert host.run(bundle).returncode == 0
    assert "runc version" in host.call("--version").stdout
    host.configure(runtime='runtimes = ["crun"]')
    assert "crun version" in host.call("--version").stdout
    assert host.run(bundle).returncode == 0
    assert "crun version" in host.call("--version").stdout


def test_a_start_imports_next_to_nothing(host: DropinHost, name: str) -> None:
    bundle = host.make_bundle(name, *LOOK, NVIDIA_VISIBLE_DEVICES="0")
    assert host.run(bundle).returncode == 0
    stub = host.prefix / "libexec/sampan/sampan-runtime.py"
    done = subprocess.run(
        ["/usr/bin/python3", "-BISX", "importtime", str(stub), "run", "--bundle", str(bundle), f"sampan-{os.getpid()}-imports"],
        env=host.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in lines[1:]}
    heavy = {"typing", "json", "re", "enum", "contextlib", "subprocess", "tomllib", "ctypes"}
    assert loaded & {*heavy, *THIRD_PARTY} == set()
    ours = {module for module in loaded if module.startswith("sampan.")}
    assert ours <= {
        "sampan.dropin", "sampan.dropin.runtime", "sampan.dropin.bundle", "sampan.dropin.call",
        "sampan.dropin.editing", "sampan.dropin.edits", "sampan.dropin.places", "sampan.dropin.plans",
        "sampan.dropin.quick_json", "sampan.dropin.refusal",
        "sampan.dropin.settings", "sampan.dropin.wish", "sampan.kernel", "sampan.kernel.freshness",
        "sampan.kernel.programs",
    }  # fmt: skip


def test_the_installation_needs_nothing_of_the_environment_it_came_from(host: DropinHost) -> None:
    text = (host.prefix / "libexec/sampan/sampan-planner").read_text()
    assert sys.prefix not in text
    listed = subprocess.run(
        [str(host.prefix / "bin/nvidia-container-cli"), "list", "--libraries"],
        env=host.environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    assert any("libcuda.so." in line for line in listed.stdout.splitlines())
