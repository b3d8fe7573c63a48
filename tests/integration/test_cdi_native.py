"""`sampan run --device vendor.com/class=name`: CDI documents of anybody, as root and as ordinary users."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.injection.cdi_jobs import HookChoice
from support.cdi_host import CUDA, OPENCL, CdiHost
from support.engine_host import USERS, EngineHost, engine_host
from support.small_root import SmallRoot

pytestmark = pytest.mark.integration
HOOK = "/usr/local/libexec/sampan/sampan-hook"
"""Named in documents; it need not be there, for the engine does its work itself."""
NVIDIA_HOOK = "/usr/bin/nvidia-cdi-hook"


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        SmallRoot(made.base / "small")
        done = made.run("import", str(made.base / "small"), "small")
        assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture(scope="module")
def cdi(host: EngineHost) -> CdiHost:
    made = CdiHost(host.base)
    # Containers would need /proc/driver/nvidia of a real module to have it covered.
    (made.host.proc / "driver/nvidia/params").unlink()
    made.write(HookChoice(HOOK))
    return made


def run(host: EngineHost, cdi: Path | CdiHost, *words: str, **more: Any) -> list[str]:
    done = try_run(host, cdi, *words, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def try_run(
    host: EngineHost, cdi: Path | CdiHost, *words: str, **more: Any
) -> "subprocess.CompletedProcess[str]":
    directory = cdi.directory if isinstance(cdi, CdiHost) else cdi
    return host.run("run", "--rm", "--cdi-spec-dir", str(directory), *words, **more)


@pytest.mark.parametrize("user", USERS)
def test_a_device_of_our_own_document_is_there_whole(
    host: EngineHost, cdi: CdiHost, user: str
) -> None:
    words = ["libcuda.so.1", "libcuda.so", "libnvidia-opencl.so.1", "/dev/nvidia1", "/dev/nvidia0",
        "/dev/nvidiactl", "$NVIDIA_VISIBLE_DEVICES"]  # fmt: skip
    out = run(host, cdi, "--device", "nvidia.com/gpu=1", "small", "/program", *words, user=user)
    assert out == [
        f"libcuda.so.1 {CUDA}", f"libcuda.so {CUDA}", f"libnvidia-opencl.so.1 {OPENCL}",
        "/dev/nvidia1 195:1", "/dev/nvidia0 absent", "/dev/nvidiactl 195:255",
        "$NVIDIA_VISIBLE_DEVICES void",
    ]  # fmt: skip


def test_all_gives_every_gpu_and_the_group_of_their_nodes(host: EngineHost, cdi: CdiHost) -> None:
    out = run(host, cdi, "--device", "nvidia.com/gpu=all", "testimage", "sh", "-c",
        "id -G; find /dev/nvidia* /dev/dri -type c")  # fmt: skip
    assert "44" in out[0].split()
    assert set(out[1:]) == cdi.paths("all")


def test_a_name_in_the_variable_is_the_same_as_the_option(host: EngineHost, cdi: CdiHost) -> None:
    variable = "NVIDIA_VISIBLE_DEVICES=nvidia.com/gpu=0"
    out = run(host, cdi, "-e", variable, "small", "/program", "/dev/nvidia0", "/dev/nvidia1")
    assert out == ["/dev/nvidia0 195:0", "/dev/nvidia1 absent"]


def test_the_record_of_a_container_names_its_cdi_devices(host: EngineHost, cdi: CdiHost) -> None:
    created = run(host, cdi, "-d", "--name", "held", "--device", "nvidia.com/gpu=0", "testimage",
        "sleep", "60")  # fmt: skip
    assert created
    shown = json.loads(host.run("inspect", "held").stdout)
    host.run("rm", "-f", "held")
    assert "nvidia.com/gpu=0" in json.dumps(shown)


def write_spec(directory: Path, kind: str, edits: dict[str, Any], version: str = "1.0.0") -> Path:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    document = {
        "cdiVersion": version, "kind": kind, "devices": [{"name": "one", "containerEdits": edits}],
    }  # fmt: skip
    path = directory / f"{kind.replace('/', '-')}.json"
    path.write_text(json.dumps(document))
    return directory


def nvidia_hook(*words: str) -> dict[str, Any]:
    return {
        "hookName": "createContainer", "path": NVIDIA_HOOK, "args": ["nvidia-cdi-hook", *words],
        "env": ["NVIDIA_CTK_DEBUG=false"],
    }  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_a_document_as_nvidia_ctk_writes_it_works_without_its_hook_program(
    host: EngineHost, cdi: CdiHost, user: str
) -> None:
    assert not os.path.exists(NVIDIA_HOOK)
    root, version, folder = cdi.host.root, cdi.version, "/usr/lib/driver"
    options = ["ro", "nosuid", "nodev", "rbind", "rprivate"]
    edits = {
        "env": ["NVIDIA_VISIBLE_DEVICES=void"],
        "deviceNodes": [
            {"path": "/dev/nvidia0", "hostPath": f"{root}/dev/nvidia0", "major": 195, "fileMode": 438,
             "permissions": "rwm"},
            {"path": "/dev/nvidia-uvm", "hostPath": f"{root}/dev/nvidia-uvm"},
        ],
        "mounts": [
            {"hostPath": f"{root}/usr/lib64/{stem}.so.{version}",
             "containerPath": f"{folder}/{stem}.so.{version}", "options": options}
            for stem in ("libcuda", "libnvidia-opencl")
        ],
        "hooks": [
            nvidia_hook("create-symlinks", "--link", f"libcuda.so.{version}::{folder}/libcuda.so.1",
                        "--link", f"libcuda.so.1::{folder}/libcuda.so"),
            nvidia_hook("enable-cuda-compat", f"--host-driver-version={version}"),
            nvidia_hook("update-ldcache", "--folder", folder),
            nvidia_hook("disable-device-node-modification"),
            nvidia_hook("update-application-profile"),
            nvidia_hook("chmod", "--mode", "755", "--path", "/dev/dri"),
            nvidia_hook("invented-next-year", "--so", "what"),
        ],
        "additionalGids": [44],
    }  # fmt: skip
    directory = write_spec(host.base / "ctk", "nvidia.com/gpu", edits)
    done = try_run(host, directory, "--device", "nvidia.com/gpu=one", "small", "/program",
        "libcuda.so.1", "libcuda.so", "libnvidia-opencl.so.1", "/dev/nvidia0", "/dev/nvidia-uvm",
        "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf", user=user)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:5] == [
        f"libcuda.so.1 {CUDA}", f"libcuda.so {CUDA}", f"libnvidia-opencl.so.1 {OPENCL}",
        "/dev/nvidia0 195:0", "/dev/nvidia-uvm 238:0",
    ]  # fmt: skip
    assert "absent" not in done.stdout.splitlines()[5]
    assert "invented-next-year" in done.stderr


@pytest.mark.parametrize("user", USERS)
def test_another_vendors_device_is_nodes_mounts_and_variables(host: EngineHost, user: str) -> None:
    (host.base / "note").write_text("hello\n")
    edits = {
        "env": ["WIDGET=7"],
        "deviceNodes": [{"path": "/dev/widget", "hostPath": "/dev/null", "permissions": "rw"}],
        "mounts": [
            {"hostPath": str(host.base / "note"), "containerPath": "/opt/widget/note",
             "options": ["ro", "bind"]},
            {"hostPath": "tmpfs", "containerPath": "/opt/scratch", "type": "tmpfs",
             "options": ["size=1m", "nosuid"]},
        ],
    }  # fmt: skip
    directory = write_spec(host.base / "widget", "example.com/widget", edits)
    script = "echo x > /dev/widget && cat /opt/widget/note && echo $WIDGET && grep scratch /proc/mounts | cut -d' ' -f1,2,3"
    out = run(host, directory, "--device", "example.com/widget=one", "testimage", "sh", "-c", script,
        user=user)  # fmt: skip
    assert out == ["hello", "7", "tmpfs /opt/scratch tmpfs"]


def test_another_vendors_hook_is_run_and_never_with_the_containers_environment(
    host: EngineHost,
) -> None:
    hook = host.base / "vendor-hook"
    hook.write_text(f"#!/bin/sh\nenv > {host.base}/hook.env\ncat > {host.base}/hook.state\n")
    hook.chmod(0o755)
    edits = {"hooks": [{"hookName": "createRuntime", "path": str(hook)}]}
    directory = write_spec(host.base / "hooked", "example.com/hooked", edits)
    run(host, directory, "-e", "LD_PRELOAD=/evil.so", "--device", "example.com/hooked=one",
        "testimage", "true")  # fmt: skip
    said = (host.base / "hook.env").read_text()
    assert "LD_PRELOAD" not in said
    assert "PATH=/usr/sbin:/usr/bin:/sbin:/bin" in said
    assert json.loads((host.base / "hook.state").read_text())["bundle"]


def test_a_hook_that_others_may_write_is_not_run(host: EngineHost) -> None:
    hook = host.base / "open-hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o777)
    edits = {"hooks": [{"hookName": "createRuntime", "path": str(hook)}]}
    directory = write_spec(host.base / "open", "example.com/open", edits)
    done = try_run(host, directory, "--device", "example.com/open=one", "testimage", "true")
    assert done.returncode == 125
    assert "error[cdi-hook]" in done.stderr
    assert "may be written by others (mode 0777)" in done.stderr


def test_hooks_of_a_document_that_others_may_write_are_not_run(host: EngineHost) -> None:
    edits = {
        "hooks": [{"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", "id"]}]
    }
    directory = write_spec(host.base / "shell", "example.com/shell", edits)
    (directory / "example.com-shell.json").chmod(0o666)
    done = try_run(host, directory, "--device", "example.com/shell=one", "testimage", "true")
    assert done.returncode == 125
    assert "error[cdi-hook]: the hooks of" in done.stderr
    assert "may be written by others (mode 0666)" in done.stderr


@pytest.mark.parametrize(
    ("edits", "version", "word"),
    [
        ({"netDevices": [{"hostInterfaceName": "eth9", "name": "eth0"}]}, "1.1.0", "netDevices"),
        ({"intelRdt": {"closID": "x"}}, "0.7.0", "intelRdt"),
    ],
)  # fmt: skip
def test_what_our_engine_cannot_give_is_refused_by_name(
    host: EngineHost, edits: dict[str, Any], version: str, word: str
) -> None:
    directory = write_spec(host.base / "rare", "example.com/rare", edits, version)
    done = try_run(host, directory, "--device", "example.com/rare=one", "testimage", "true")
    assert "error[cdi-unsupported]" in done.stderr
    assert word in done.stderr


def test_an_unknown_device_is_refused_with_what_there_is(host: EngineHost, cdi: CdiHost) -> None:
    done = try_run(host, cdi, "--device", "nvidia.com/gpu=7", "testimage", "true")
    assert done.returncode == 125
    assert "error[cdi-unresolvable]: no CDI device nvidia.com/gpu=7" in done.stderr
    assert "nvidia.com/gpu has 0, 1, GPU-" in done.stderr
    assert str(cdi.directory) in done.stderr


def test_a_stale_document_is_named_with_the_command_that_renews_it(
    host: EngineHost, cdi: CdiHost
) -> None:
    text = (cdi.directory / "nvidia.yaml").read_text().replace(cdi.version, "999.1.1")
    directory = host.base / "stale"
    directory.mkdir()
    (directory / "nvidia.yaml").write_text(text)
    done = try_run(host, directory, "--device", "nvidia.com/gpu=0", "testimage", "true")
    assert f"error[cdi-stale]: {directory}/nvidia.yaml does not fit this host" in done.stderr
    assert f"sudo sampan cdi refresh --output {directory}/nvidia.yaml" in done.stderr


def test_a_broken_document_of_ours_is_not_passed_over(host: EngineHost) -> None:
    directory = host.base / "broken"
    directory.mkdir()
    (directory / "nvidia.yaml").write_text("kind: nvidia.com/gpu\n")
    done = try_run(host, directory, "--device", "nvidia.com/gpu=0", "testimage", "true")
    assert "error[cdi-unresolvable]" in done.stderr
    assert f"{directory}/nvidia.yaml is not used: " in done.stderr


def test_a_document_whose_node_is_gone_is_stale_too(host: EngineHost) -> None:
    edits = {"deviceNodes": [{"path": "/dev/widget", "hostPath": "/dev/no-such-widget"}]}
    directory = write_spec(host.base / "gone", "example.com/gone", edits)
    done = try_run(host, directory, "--device", "example.com/gone=one", "testimage", "true")
    assert "error[cdi-stale]" in done.stderr
    assert "/dev/no-such-widget" in done.stderr


AUTOMATIC = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from support.described_host import describe
from support.driver_host import FakeHost
import sampan.driver.cache
from sampan.driver.inventory import take_inventory
from sampan.cli.main import main

base = Path(sys.argv[2])
sampan.driver.cache.current_inventory = lambda *_, **__: take_inventory(
    str(base / "root"), str(base / "root"), proc_root=str(base / "proc"), sys_root=str(base / "sys"))
sys.exit(main(sys.argv[3:]))
"""


def automatic(host: EngineHost, cdi: CdiHost, *words: str) -> "subprocess.CompletedProcess[str]":
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", AUTOMATIC, tests, str(cdi.base / "host"), *words]
    return subprocess.run(
        command, env=host.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def test_without_a_document_our_own_kind_is_answered_from_this_host(
    host: EngineHost, cdi: CdiHost
) -> None:
    empty = host.base / "empty"
    empty.mkdir()
    done = automatic(host, cdi, "run", "--rm", "--cdi-spec-dir", str(empty), "--gpus", "device=0",
        "--device", "nvidia.com/gpu=gpu1", "small", "/program", "libcuda.so.1", "/dev/nvidia0",
        "/dev/nvidia1", "$NVIDIA_VISIBLE_DEVICES")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"libcuda.so.1 {CUDA}", "/dev/nvidia0 195:0", "/dev/nvidia1 195:1",
        "$NVIDIA_VISIBLE_DEVICES 0,1",
    ]  # fmt: skip


def test_gpus_and_a_document_of_another_vendor_go_together(host: EngineHost, cdi: CdiHost) -> None:
    edits = {"env": ["WIDGET=7"], "deviceNodes": [{"path": "/dev/widget", "hostPath": "/dev/null"}]}
    directory = write_spec(host.base / "both", "example.com/widget", edits)
    done = automatic(host, cdi, "run", "--rm", "--cdi-spec-dir", str(directory), "--gpus", "device=1",
        "--device", "example.com/widget=one", "small", "/program", "libcuda.so.1", "/dev/nvidia1",
        "/dev/widget", "$WIDGET")  # fmt: skip
    assert done.stdout.splitlines() == [
        f"libcuda.so.1 {CUDA}", "/dev/nvidia1 195:1", "/dev/widget 1:3", "$WIDGET 7",
    ], done.stderr  # fmt: skip


def test_explain_names_what_a_device_brings(host: EngineHost, cdi: CdiHost) -> None:
    done = host.run("explain", "small", "--cdi-spec-dir", str(cdi.directory), "--device",
        "nvidia.com/gpu=1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "CDI:       nvidia.com/gpu=1" in done.stdout
    assert "/dev/nvidia1" in done.stdout
    assert "/dev/nvidia0" not in done.stdout


def test_a_mig_device_brings_its_parents_node_and_its_own_access_nodes(host: EngineHost) -> None:
    (host.base / "mig").mkdir()
    mig = CdiHost(host.base / "mig", "mig")
    (mig.host.proc / "driver/nvidia/params").unlink()
    mig.write(HookChoice(HOOK))
    out = run(host, mig, "--device", "nvidia.com/gpu=2:0", "testimage", "sh", "-c",
        "find /dev/nvidia* /dev/dri -type c")  # fmt: skip
    assert set(out) == mig.paths("2:0")
    assert any("nvidia-caps" in path for path in out)


@pytest.mark.parametrize("user", USERS)
def test_with_runc_a_device_is_there_as_with_crun(
    host: EngineHost, cdi: CdiHost, user: str
) -> None:
    runc, crun = shutil.which("runc"), shutil.which("crun")
    if runc is None:
        pytest.skip("runc is not installed")
    words = ["run", "--rm", "--cdi-spec-dir", str(cdi.directory), "--device", "nvidia.com/gpu=0",
        "small", "/program", "libcuda.so.1", "/dev/nvidia0", "/dev/nvidia1"]  # fmt: skip
    hidden = ["unshare", "--mount", "sh", "-c", f'mount --bind /dev/null {crun}; exec "$@"', "sh"]
    done = subprocess.run(
        [*hidden, *host.command(*words, user=user)], env=host.environment(user),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"libcuda.so.1 {CUDA}", "/dev/nvidia0 195:0", "/dev/nvidia1 absent",
    ]  # fmt: skip
