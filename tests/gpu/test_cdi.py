"""The CDI document of this machine: in our engine, and where they were brought, in docker and podman."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard

pytestmark = pytest.mark.gpu

REPOSITORY = Path(__file__).parents[2]
ENGINES = REPOSITORY / ".gpu-engines"
IMAGE = REPOSITORY / ".gpu" / "debian-gl.tar.zst"
CUDA = (
    "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int();"
    "print(cuda.cuInit(0), cuda.cuDeviceGetCount(ctypes.byref(n)), n.value)"
)


def host(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def unpacked(archive: Path, directory: Path) -> Path:
    target = directory / archive.with_suffix("").name
    with archive.open("rb") as stream, target.open("wb") as out:
        zstandard.ZstdDecompressor().copy_stream(stream, out)
    return target


@pytest.fixture
def document(sampan, tmp_path) -> Path:
    directory = tmp_path / "cdi"
    directory.mkdir()
    for parent in (directory, *directory.parents[:-1]):
        parent.chmod(parent.stat().st_mode | 0o055)
    path = directory / "nvidia.yaml"
    path.write_text(sampan("cdi", "generate").stdout)
    return path


def test_the_document_says_what_it_was_made_of_and_fits_this_host(sampan, document):
    assert sampan("cdi", "validate", str(document)).returncode == 0
    assert sampan("cdi", "diff", str(document)).returncode == 0


@pytest.mark.parametrize("device", ["0", "all"])
def test_our_engine_gives_the_devices_of_the_document(sampan, debian, document, device):
    arguments = (
        "run", "--rm", "--cdi-spec-dir", str(document.parent), "--device", f"nvidia.com/gpu={device}",
        debian,
    )  # fmt: skip
    assert sampan(*arguments, "nvidia-smi", "-L").stdout == host("nvidia-smi", "-L")
    assert sampan(*arguments, "python3", "-c", CUDA).stdout.split()[:2] == ["0", "0"]


@pytest.fixture(scope="module")
def chroot(tmp_path_factory):
    """docker and podman of Debian sid with the libraries they need, in memory for overlayfs' sake."""
    if not (ENGINES / "busybox").exists():
        pytest.skip("docker and podman were not brought: scripts/gpu-bundle collects them")
    root = Path("/dev/shm/sampan-engines")
    shutil.rmtree(root, ignore_errors=True)
    for directory in ("bin", "dev", "etc/cdi", "etc/containers", "old", "proc", "root", "run",
                      "sys", "tmp", "var/lib", "var/tmp", "usr/sbin"):  # fmt: skip
        (root / directory).mkdir(parents=True)
    for name in ("docker", "podman"):
        archive = ENGINES / f"{name}.tar.zst"
        if archive.exists():
            subprocess.run(
                ["tar", "-C", str(root), "-xf", str(unpacked(archive, root))], check=True
            )
    shutil.copy(ENGINES / "busybox", root / "bin" / "busybox")
    for name in ("sh", "mount", "umount", "grep", "sleep", "cat", "mkdir", "tar"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/containers/policy.json").write_text(
        '{"default": [{"type": "insecureAcceptAnything"}]}'
    )
    (root / "etc/containers/containers.conf").write_text('[engine]\nevents_logger = "file"\n')
    (root / ".ready-2").touch()
    yield root
    shutil.rmtree(root, ignore_errors=True)


def in_chroot(root: Path, binds: str, *words: str) -> str:
    done = subprocess.run(
        [str(REPOSITORY / "scripts" / "engines-sid"), *words], capture_output=True, text=True,
        env={**os.environ, "SAMPAN_ENGINES_ROOT": str(root), "SAMPAN_CHROOT_BINDS": binds},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def driver_binds(sampan) -> str:
    """What the engine in the chroot must see of the host: the directories of the driver's files."""
    return "/usr/local/nvidia" if Path("/usr/local/nvidia/lib64").exists() else "/usr /lib /etc"


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_another_engine_gives_the_gpu_of_the_document(
    who, chroot, sampan, document, driver_binds, tmp_path, engine
):
    if who != "root":
        pytest.skip("the engines of the chroot are root's")
    if not any((chroot / place / engine).exists() for place in ("usr/bin", "usr/sbin")):
        pytest.skip(f"{engine} was not brought")
    shutil.copy(document, chroot / "etc/cdi/nvidia.yaml")
    image = unpacked(IMAGE, tmp_path)
    words = ["--docker"] if engine == "docker" else []
    options = "" if engine == "docker" else "--cgroups=disabled --runtime crun"
    script = (
        f"{engine} import {image} debian:gpu >/dev/null &&"
        f" {engine} run --rm {options} --network none --device nvidia.com/gpu=all debian:gpu"
        f' sh -c "nvidia-smi -L && python3 -c \\"{CUDA}\\""'
    )
    out = in_chroot(chroot, f"{driver_binds} {tmp_path}", *words, "sh", "-c", script)
    lines = out.splitlines()
    assert lines[:-1] == host("nvidia-smi", "-L").splitlines()
    assert lines[-1].split()[:2] == ["0", "0"]
