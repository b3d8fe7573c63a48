"""A real workload: the machine's own PyTorch tree as an image, as fast inside as outside."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

TREE = Path(os.environ.get("SAMPAN_GPU_TORCH_TREE", "/opt/torch"))  # a folder with .venv inside
PYTHON = TREE / ".venv/bin/python3"
EXCLUDED = ("usr/local/nvidia", "usr/local/cuda*", "usr/share/doc", "usr/src", "opt/nvidia")
MATMUL = """
import json, torch
n = 8192
a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
b = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
for _ in range(20):
    c = a @ b
torch.cuda.synchronize()
times = []
for _ in range(100):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record(); c = a @ b; end.record(); torch.cuda.synchronize()
    times.append(start.elapsed_time(end))
rows = slice(0, 64)
reference = a[rows].double() @ b.double()
error = ((c[rows].double() - reference).norm() / reference.norm()).item()
times.sort()
print(json.dumps({"tflops": 2 * n**3 / times[50] / 1e9, "error": error}))
"""


@pytest.fixture(scope="session")
def torch_image(sampan, who):
    if not PYTHON.exists():
        pytest.skip(f"no PyTorch tree at {TREE}")
    names = [
        n for n in ("bin", "sbin", "lib", "lib64", "usr", "opt/torch") if Path("/", n).exists()
    ]
    command = ["tar", "-C", "/", *(f"--exclude={name}" for name in EXCLUDED), "-cf", "-", *names,
               "etc/passwd", "etc/group", "etc/ld.so.conf", "etc/ld.so.conf.d", "etc/alternatives"]  # fmt: skip
    tree = Path(os.environ.get("SAMPAN_GPU_SCRATCH", "/var/tmp")) / "torch-image.tar"
    if not tree.exists():
        with tree.open("wb") as out:
            subprocess.run(command, stdout=out, check=True)
    size = tree.stat().st_size
    started, before = time.perf_counter(), os.times()
    sampan("import", "--quiet", str(tree), "torch")
    wall, after = time.perf_counter() - started, os.times()
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    print(
        f"\nimport as {who}: {size / 1e9:.2f} GB in {wall:.1f} s = {size / 1e9 / wall:.2f} GB/s,"
        f" {cpu:.1f} CPU s, {os.cpu_count()} cores"
    )
    return "torch"


def test_a_bf16_product_runs_as_fast_inside_as_outside(sampan, torch_image, who, capsys):
    def inside():
        arguments = ("run", "--rm", "--gpus", "all", torch_image, str(PYTHON), "-c", MATMUL)
        return json.loads(sampan(*arguments).stdout)

    def outside():
        done = subprocess.run([PYTHON, "-c", MATMUL], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    pairs = [(inside(), outside()) for _ in range(3)]
    ratio = sorted(i["tflops"] / o["tflops"] for i, o in pairs)[1]
    with capsys.disabled():
        print(f"\nas {who}: {pairs} median ratio inside/outside {ratio:.4f}")
    assert all(i["error"] < 1e-2 for i, _ in pairs)
    assert ratio > 0.97
