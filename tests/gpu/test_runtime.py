"""Raw crun with ``sampan-runtime`` in front: a bundle's own variable brings the GPU."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import zstandard

pytestmark = pytest.mark.gpu

IMAGE = Path(__file__).parents[2] / ".gpu" / "debian-gl.tar.zst"
CUDA = (
    "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int();"
    "print(cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(n)), n.value)"
)
MOUNTS = (("/proc", "proc"), ("/dev", "tmpfs"), ("/sys", "sysfs"), ("/tmp", "tmpfs"))


@pytest.fixture(scope="module")
def bundle(who, sampan, tmp_path_factory) -> Path:
    if who != "root":
        pytest.skip("raw bundles are root's here")
    if not IMAGE.exists():
        pytest.skip("scripts/gpu-bundle was not run: no image to unpack")
    base = tmp_path_factory.mktemp("runtime")
    sampan("install", "--prefix", str(base / "prefix"))
    rootfs = base / "bundle" / "rootfs"
    rootfs.mkdir(parents=True)
    with IMAGE.open("rb") as stream:
        unpacking = subprocess.Popen(["tar", "-C", str(rootfs), "-x"], stdin=subprocess.PIPE)
        assert unpacking.stdin is not None
        zstandard.ZstdDecompressor().copy_stream(stream, unpacking.stdin)
        unpacking.stdin.close()
        assert unpacking.wait() == 0
    return base / "bundle"


def run_bundle(bundle: Path, script: str, *variables: str) -> subprocess.CompletedProcess[str]:
    document = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["sh", "-c", script],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *variables],
            "cwd": "/",
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": place, "type": kind, "source": kind} for place, kind in MOUNTS
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
        },
    }  # fmt: skip
    (bundle / "config.json").write_text(json.dumps(document))
    runtime = bundle.parent / "prefix" / "bin" / "sampan-runtime"
    return subprocess.run(
        [str(runtime), "run", "--bundle", str(bundle), f"sampan-gpu-test-{os.getpid()}"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip


def test_a_bundle_that_asks_for_nothing_has_no_driver(bundle):
    # First, while the root file system is as the image left it.
    done = run_bundle(bundle, "ls /dev | grep nvidia; ldconfig -p | grep -c libcuda")
    assert done.stdout.split() == ["0"], done.stderr


def test_crun_behind_the_runtime_runs_nvidia_smi_and_cuda(bundle):
    host = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    script = f'nvidia-smi -L && python3 -c "{CUDA}"'
    done = run_bundle(bundle, script, "NVIDIA_VISIBLE_DEVICES=all")
    lines = done.stdout.splitlines()
    assert lines[:-1] == host.stdout.splitlines(), done.stderr
    assert lines[-1].split()[:2] == ["0", "0"]
