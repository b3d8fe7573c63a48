"""Our CDI documents before others: the published schema, podman of Debian sid, systemd."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from sampan.engines.cdi import make_spec, render_spec
from sampan.injection.cdi_generate import CdiOptions
from sampan.injection.cdi_jobs import HookChoice
from sampan.model.cdi import CdiSpec
from support.described_host import make_described_host
from support.driver_host import TESTDATA

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).parents[2]
GOLDEN = sorted(TESTDATA.glob("*/cdi-*.yaml"))


def run_script(*words: str) -> str:
    """Output of a script that says with 77 that it cannot work here."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def validator() -> Any:
    directory = Path(run_script("scripts/cdi-schema").strip())
    schema = json.loads((directory / "schema.json").read_text())
    definitions = Resource.from_contents(
        json.loads((directory / "defs.json").read_text()),
        default_specification=DRAFT7,
    )
    registry: Any = Registry().with_resource("defs.json", definitions)
    return jsonschema.Draft7Validator(schema, registry=registry)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_published_schema_accepts_the_document_of_every_kind_of_host(
    path: Path, validator: Any
) -> None:
    assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []


def test_the_published_schema_is_one_that_refuses(validator: Any) -> None:
    document = {"cdiVersion": "0.5.0", "kind": "a/b", "devices": [{"name": "x"}]}
    assert list(validator.iter_errors(document))


class Peer(NamedTuple):
    """A document of a host with MIG devices, in ``cdi``, and a root file system with busybox."""

    base: Path
    spec: CdiSpec

    def paths(self, device: str) -> set[str]:
        edits = next(one for one in self.spec.devices if one.name == device).edits
        return {node.path for node in (*edits.device_nodes, *self.spec.edits.device_nodes)}


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    if os.geteuid() != 0:
        pytest.skip("the chroot of Debian sid needs root")
    prepared = subprocess.run(
        ["scripts/engines-sid", "--prepare"], capture_output=True, text=True, cwd=REPOSITORY
    )
    if prepared.returncode:
        pytest.skip(f"no chroot of Debian sid: {prepared.stderr.strip()}")
    host = make_described_host(tmp_path / "host", "mig", real_nodes=True)
    made = make_spec(host.take(nvml=True), CdiOptions(hook=HookChoice()))
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi" / "nvidia.yaml").write_text(render_spec(made.spec, as_json=False))
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
        (tmp_path / "root" / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "root/bin/busybox")
    return Peer(tmp_path, made.spec)


LOOK = "echo $NVIDIA_VISIBLE_DEVICES; find /dev/nvidia* /dev/dri -type c; ls /usr/lib64"


def check_container(out: list[str], nodes: set[str]) -> None:
    assert out[0] == "void"
    assert {word for word in out if word.startswith("/dev/")} == nodes
    assert {"libcuda.so.1", "libnvidia-ml.so.1"} <= set(out)


@pytest.mark.parametrize("device", ["2:0", "all"])
def test_podman_of_sid_gives_what_the_document_says(peer: Peer, device: str) -> None:
    words = ["--cdi-spec-dir", str(peer.base / "cdi"), "--cgroup-manager=cgroupfs", "run", "--rm"]
    words += ["--ulimit", "host", "--network", "none", "--device", f"nvidia.com/gpu={device}"]
    words += ["--rootfs", str(peer.base / "root"), "/bin/busybox", "sh", "-c", LOOK]
    check_container(run_script("scripts/engines-sid", "podman", *words).split(), peer.paths(device))


def test_docker_of_sid_gives_what_the_document_says(peer: Peer) -> None:
    script = f"""
        set -e
        mkdir -p /var/run/cdi
        cp {peer.base}/cdi/nvidia.yaml /var/run/cdi/
        tar -C {peer.base}/root -c . | docker import - sampan-cdi-test >/dev/null
        docker run --rm --network none --device nvidia.com/gpu=0:1 sampan-cdi-test \
            /bin/busybox sh -c '{LOOK}'
        docker rmi sampan-cdi-test >/dev/null
    """
    out = run_script("scripts/engines-sid", "--docker", "sh", "-c", script).split()
    check_container(out, peer.paths("0:1"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is absent")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    program = tmp_path / "sampan"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    words = ["cdi", "install-units", "--program", str(program), "--prefix", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "sampan", *words], check=True, capture_output=True)
    units = [str(path) for path in (tmp_path / "etc/systemd/system").iterdir()]
    assert len(units) == 3
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("udevadm") is None, reason="udevadm is absent")
def test_udev_finds_nothing_wrong_with_the_rule(tmp_path: Path) -> None:
    words = ["cdi", "install-units", "--program", "/usr/bin/sampan", "--prefix", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "sampan", *words], check=True, capture_output=True)
    rule = tmp_path / "etc/udev/rules.d/60-sampan-cdi.rules"
    checked = subprocess.run(["udevadm", "verify", str(rule)], capture_output=True, text=True)
    if "Unknown command verb" in checked.stderr:
        pytest.skip("this udevadm cannot verify rules")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_document_is_made_without_what_only_readers_need(tmp_path: Path) -> None:
    host = make_described_host(tmp_path / "host", "eight-gpus", real_nodes=os.geteuid() == 0)
    places = json.dumps({"driver": str(host.root), "proc": str(host.proc), "sys": str(host.sys)})
    stub = (
        "import functools, json, sys\n"
        "import sampan.driver.cache as cache\n"
        "from sampan.cli.main import main\n"
        "roots = json.loads(sys.argv[1])\n"
        "cache.current_inventory = functools.partial(cache.current_inventory,"
        " proc_root=roots['proc'], sys_root=roots['sys'])\n"
        "code = main(['cdi', 'generate', '--driver-root', roots['driver'],"
        " '--output', sys.argv[2]])\n"
        "print(code, *sorted(sys.modules))\n"
    )
    if os.geteuid() != 0:
        pytest.skip("the nodes of the host need root")
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for _ in range(2):
        said = subprocess.run(
            [sys.executable, "-c", stub, places, str(tmp_path / "nvidia.yaml")],
            capture_output=True, text=True, check=True, env=environment,
        ).stdout.split()  # fmt: skip
    assert said[0] == "0"
    unwanted = {"yaml", "subprocess", "ctypes", "pynvml", "dataclasses", "logging", "rich"}
    unwanted |= {
        "sampan.driver.inventory",
        "sampan.driver.nvml",
        "sampan.images",
        "sampan.registry",
    }
    assert not unwanted & set(said)
