"""What a user with a GPU sees: the host's driver works in an image that contains none."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

PROGRAM = r"""
#include <cstdio>
#include <vector>
__global__ void saxpy(int n, float a, const float *x, float *y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
int main() {
  const int n = 1 << 20;
  std::vector<float> x(n), y(n);
  for (int i = 0; i < n; i++) { x[i] = i % 1000; y[i] = i % 7; }
  float *dx, *dy;
  if (cudaMalloc(&dx, n * 4) || cudaMalloc(&dy, n * 4)) { puts(cudaGetErrorString(cudaGetLastError())); return 1; }
  cudaMemcpy(dx, x.data(), n * 4, cudaMemcpyHostToDevice);
  cudaMemcpy(dy, y.data(), n * 4, cudaMemcpyHostToDevice);
  saxpy<<<(n + 255) / 256, 256>>>(n, 3.0f, dx, dy);
  if (cudaDeviceSynchronize()) { puts(cudaGetErrorString(cudaGetLastError())); return 1; }
  std::vector<float> out(n);
  cudaMemcpy(out.data(), dy, n * 4, cudaMemcpyDeviceToHost);
  for (int i = 0; i < n; i++)
    if (out[i] != 3.0f * x[i] + y[i]) { printf("wrong at %d: %f\n", i, out[i]); return 1; }
  printf("all %d right\n", n);
}
"""


def host(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def test_nvidia_smi_lists_the_same_gpus_inside_as_outside(sampan, debian):
    inside = sampan("run", "--rm", "--gpus", "all", debian, "nvidia-smi", "-L").stdout
    assert inside == host("nvidia-smi", "-L")


def test_no_gpu_and_no_driver_file_is_there_when_none_is_asked(sampan, debian):
    listing = "ls /dev | grep nvidia; ls /usr/lib/x86_64-linux-gnu | grep -i -E 'nvidia|libcuda'"
    done = sampan("run", "--rm", debian, "sh", "-c", listing, check=False)
    assert (done.stdout, done.returncode) == ("", 1)


def test_only_the_selected_gpu_appears(sampan, debian):
    inside = sampan("run", "--rm", "--gpus", "device=0", debian, "nvidia-smi", "-L").stdout
    assert inside.splitlines() == host("nvidia-smi", "-L").splitlines()[:1]


def test_libcuda_is_found_by_the_loader_alone(sampan, debian):
    code = (
        "import ctypes, os; assert 'LD_LIBRARY_PATH' not in os.environ;"
        "cuda = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int();"
        "print(cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(n)), n.value)"
    )
    done = sampan("run", "--rm", "--gpus", "all", debian, "python3", "-c", code)
    assert done.stdout.split() == ["0", "0", str(len(host("nvidia-smi", "-L").splitlines()))]


def test_a_cuda_program_built_on_the_host_computes_the_right_numbers(sampan, debian, tmp_path):
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("no nvcc on this machine's PATH")
    source = tmp_path / "saxpy.cu"
    source.write_text(PROGRAM)
    subprocess.run(
        [compiler, "-arch=native", "-cudart=static", "-o", str(tmp_path / "saxpy"), str(source)],
        check=True,
    )
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    volume = f"{tmp_path}:/work:ro"
    done = sampan("run", "--rm", "--gpus", "all", "-v", volume, debian, "/work/saxpy")
    assert done.stdout == "all 1048576 right\n"


def test_an_unknown_gpu_is_refused_with_what_there_is(sampan, debian):
    done = sampan("run", "--rm", "--gpus", "device=99", debian, "true", check=False)
    assert done.returncode == 125
    assert "99" in done.stderr
    assert "GPU-" in done.stderr
