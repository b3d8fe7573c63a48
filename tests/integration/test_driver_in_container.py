"""A container of the native engine gets the driver of a host made of directories.

Its libraries are compiled here and say who they are; NVML is absent, so GPUs come from procfs.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.driver_host import FakeHost
from support.engine_host import USERS, EngineHost, engine_host
from support.small_root import SmallRoot

pytestmark = pytest.mark.integration
V = "580.159.04"

WITH_HOST = """
import sys
import sampan.driver.cache
from sampan.driver.inventory import take_inventory
root, proc, system = sys.argv[1:4]
sampan.driver.cache.current_inventory = lambda: take_inventory(
    root, root, proc_root=proc, sys_root=system, nvml=False)
from sampan.cli.main import main
sys.exit(main(sys.argv[4:]))
"""


class Machine:
    """A host with a driver, a store, and ``sampan`` on them as a certain user."""

    def __init__(self, engine: EngineHost) -> None:
        self.engine = engine
        base = Path(tempfile.mkdtemp(dir=engine.base))
        base.chmod(0o755)
        self.host = FakeHost(base / "host")
        # With 1 a file would be mounted over procfs, where this machine has no nvidia directory.
        self.host.load_module(V, params="ModifyDeviceFiles: 0\n")
        self.host.add_gpu(0, node=False)
        self.host.add_gpu(1, node=False)
        for name, minor in (("nvidiactl", 255), ("nvidia0", 0), ("nvidia1", 1)):
            try:
                os.mknod(self.host.root / "dev" / name, 0o20666, os.makedev(195, minor))
            except PermissionError:
                pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
            (self.host.root / "dev" / name).chmod(0o666)
        libraries = SmallRoot(base / "libraries")
        for stem, number in (("libcuda", 580), ("libnvidia-ml", 581), ("libnvidia-opencl", 582)):
            built = libraries.add_library(f"/{stem}.so.{V}", number, f"{stem}.so.1")
            self.host.add_file(f"/usr/local/nvidia/lib64/{built.name}", built.read_bytes())
        self.host.add_program("/usr/local/nvidia/bin/nvidia-smi")
        self.image = SmallRoot(base / "image")

    def run(self, *words: str, user: str = "root") -> list[str]:
        """Import the image, run a container and return the lines it printed."""
        imported = self.engine.run("import", str(self.image.path), "small")
        assert imported.returncode == 0, imported.stderr
        roots = (self.host.root, self.host.proc, self.host.sys)
        program = (sys.executable, "-c", WITH_HOST, *map(str, roots))
        done = subprocess.run(
            self.engine.command("run", "--rm", *words, user=user, program=program),
            env=self.engine.environment(user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineHost]:
    with engine_host() as host:
        yield host


@pytest.fixture
def machine(engine: EngineHost) -> Machine:
    return Machine(engine)


@pytest.mark.parametrize("user", USERS)
def test_libraries_nodes_and_programs_are_there_without_any_variable(
    machine: Machine, user: str
) -> None:
    words = ["libcuda.so.1", "libnvidia-ml.so.1", "/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia1",
             "/usr/bin/nvidia-smi", "$LD_LIBRARY_PATH", "$NVIDIA_VISIBLE_DEVICES",
             "/etc/OpenCL/vendors/nvidia.icd"]  # fmt: skip
    assert machine.run("--gpus", "all", "small", "/program", *words, user=user) == [
        "libcuda.so.1 580",
        "libnvidia-ml.so.1 581",
        "/dev/nvidiactl 195:255",
        "/dev/nvidia0 195:0",
        "/dev/nvidia1 195:1",
        "/usr/bin/nvidia-smi 4",
        "$LD_LIBRARY_PATH -",
        "$NVIDIA_VISIBLE_DEVICES all",
        "/etc/OpenCL/vendors/nvidia.icd 22",
    ]


def test_only_the_chosen_gpu_appears(machine: Machine) -> None:
    words = ["/dev/nvidia0", "/dev/nvidia1", "$NVIDIA_VISIBLE_DEVICES"]
    assert machine.run("--gpus", "device=1", "small", "/program", *words) == [
        "/dev/nvidia0 absent",
        "/dev/nvidia1 195:1",
        "$NVIDIA_VISIBLE_DEVICES 1",
    ]


def test_without_a_wish_nothing_of_the_driver_appears(machine: Machine) -> None:
    words = ["libcuda.so.1", "/dev/nvidiactl", "/usr/bin/nvidia-smi"]
    assert machine.run("small", "/program", *words) == [
        "libcuda.so.1 -1",
        "/dev/nvidiactl absent",
        "/usr/bin/nvidia-smi absent",
    ]


def test_a_stale_libcuda_and_left_overs_in_the_image_are_masked(machine: Machine) -> None:
    lib = f"/usr/lib/{os.uname().machine}-linux-gnu"
    machine.image.add_library(f"{lib}/libcuda.so.1", 1)
    (machine.image.path / lib.lstrip("/") / f"libnvidia-ml.so.{V}").symlink_to("/nowhere/at/all")
    (machine.image.path / lib.lstrip("/") / f"libcuda.so.{V}").write_bytes(b"")
    words = ["libcuda.so.1", "libnvidia-ml.so.1"]
    assert machine.run("--gpus", "all", "small", "/program", *words) == [
        "libcuda.so.1 580",
        "libnvidia-ml.so.1 581",
    ]


@pytest.mark.parametrize("user", USERS)
def test_a_file_of_procfs_can_be_replaced(machine: Machine, user: str) -> None:
    # Stands for /proc/driver/nvidia/params, which this machine may not have.
    other = machine.host.base / "params"
    other.write_text("ModifyDeviceFiles: 0\n")
    words = ["-v", f"{other}:/proc/version:ro", "small", "/program", "/proc/version"]
    assert machine.run(*words, user=user) == ["/proc/version 21"]
