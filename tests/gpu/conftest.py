"""A machine with an NVIDIA driver, a store of our own, and an ordinary user to run as."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ORDINARY_UID = 4242
BUNDLED_IMAGE = Path(__file__).parents[2] / ".gpu" / "debian-gl.tar.zst"

Sampan = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def driver_present() -> None:
    if not Path("/proc/driver/nvidia/version").exists():
        pytest.exit("no NVIDIA driver: /proc/driver/nvidia/version is absent", returncode=1)
    assert os.geteuid() == 0, "scripts/gpu-test runs as root and becomes an ordinary user itself"


@pytest.fixture(scope="session")
def debian_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian root file system with the loaders of Vulkan, EGL and OpenGL, and no NVIDIA file."""
    if BUNDLED_IMAGE.exists():
        return BUNDLED_IMAGE
    target = tmp_path_factory.mktemp("rootfs") / "debian.tar"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,vulkan-tools,mesa-utils-bin", "bookworm",
         str(target)],
        check=True,
    )  # fmt: skip
    return target


@pytest.fixture(scope="session", params=["root", "ordinary user"])
def who(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def sampan(who: str, tmp_path_factory: pytest.TempPathFactory) -> Sampan:
    """Run ``sampan ARGUMENTS`` as root or as an ordinary user, each with a store of its own."""
    home = tmp_path_factory.mktemp("home")
    for parent in (home, *home.parents):
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    prefix: Sequence[str] = ()
    if who != "root":
        os.chown(home, ORDINARY_UID, ORDINARY_UID)
        prefix = ("setpriv", f"--reuid={ORDINARY_UID}", f"--regid={ORDINARY_UID}", "--clear-groups")
    environment = {**os.environ, "HOME": str(home), "SAMPAN_STORE": str(home / "store")}
    environment.pop("XDG_RUNTIME_DIR", None)
    program = shutil.which("sampan")
    assert program is not None

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*prefix, program, *arguments], env=environment, capture_output=True, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture(scope="session")
def debian(sampan: Sampan, debian_rootfs: Path) -> str:
    sampan("import", "--quiet", str(debian_rootfs), "debian")
    return "debian"
