"""A host with a driver made of directories, and containers of the native engine on it.

Its libraries are compiled here and say who they are; NVML is absent, so GPUs come from procfs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.driver_host import FakeHost
from support.engine_host import EngineHost
from support.small_root import SmallRoot

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
        self.import_image()
        done = self.start("run", "--rm", *words, user=user)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def import_image(self, *changes: str) -> None:
        """The image as ``small``, with these instructions of a Dockerfile."""
        options = [word for change in changes for word in ("--change", change)]
        imported = self.engine.run("import", str(self.image.path), "small", *options)
        assert imported.returncode == 0, imported.stderr

    def start(self, *words: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """Run ``sampan WORDS`` on this host to its end."""
        roots = (self.host.root, self.host.proc, self.host.sys)
        program = (sys.executable, "-c", WITH_HOST, *map(str, roots))
        return subprocess.run(
            self.engine.command(*words, user=user, program=program),
            env=self.engine.environment(user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
