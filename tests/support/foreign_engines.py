"""`sampan run --engine docker|podman` before real engines: Debian sid's in a chroot, this machine's podman.

One session of the chroot with a docker daemon of its own lasts as long as the tests of a module. Our
program runs on this machine; the `docker` and `podman` on its PATH are small scripts that enter the
session and become the real ones.
"""

import contextlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.dropin.install import install
from sampan.model.inventory import Inventory
from support.cdi_host import CUDA, OPENCL, CdiHost
from support.engine_host import wait_until
from support.small_root import SmallRoot

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = "localhost/sampan-foreign"
SCRIPT = "scripts/engines-sid"
LOOK = (
    "libcuda.so.1",
    "libcuda.so",
    "libnvidia-opencl.so.1",
    "/dev/nvidia0",
    "/dev/nvidia1",
    "/dev/nvidiactl",
)
"""What the image's ``/program`` is asked about."""
_SESSION = """
set -e
mkdir -p /etc/cdi
mount --bind "$base/cdi" /etc/cdi
dockerd --iptables=false --ip6tables=false --bridge=none --data-root "$base/docker-data" \
  --pidfile /run/foreign.pid --config-file "$base/daemon.json" -H unix:///run/docker.sock $options >"$base/dockerd.log" 2>&1 &
daemon=$!
until docker info >/dev/null 2>&1; do
  kill -0 $daemon 2>/dev/null || { tail -n 5 "$base/dockerd.log" >&2; exit 77; }
  sleep 0.1
done
echo ready
cat >/dev/null
kill $daemon
wait $daemon || true
"""
PROGRAM = """
import pickle, sys
from pathlib import Path
import sampan.driver.cache
import sampan.driver.cdi_files
inventory = pickle.loads(Path(sys.argv[1]).read_bytes())
sampan.driver.cache.current_inventory = lambda *_, **__: inventory
import sampan.engines.gpu_ways
if sys.argv[2]:
    # The directories of podman in the session are not those of this machine.
    sampan.driver.cdi_files.SPEC_DIRECTORIES = (sys.argv[2],)
hook = sys.argv[3]
if hook:
    sampan.engines.gpu_ways.locate_hook = lambda: hook
from sampan.cli.main import program
sys.argv[1:] = sys.argv[4:]
program()
"""


class ForeignEngines:
    """A described host with two GPUs, a small image in each engine, and command lines."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.cdi = CdiHost(base)
        self.inventory: Inventory = self.cdi.host.take(nvml=True)
        (base / "inventory").write_bytes(pickle.dumps(self.inventory))
        self.daemon = 0
        self.programs = base / "bin"
        self.programs.mkdir()
        self.home = base / "home"
        self.home.mkdir(mode=0o755)
        root = SmallRoot(base / "small").path
        busybox = shutil.which("busybox")
        assert busybox is not None
        (root / "bin").mkdir(exist_ok=True)
        shutil.copy(busybox, root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")
        subprocess.run(["tar", "-C", str(root), "-cf", str(base / "small.tar"), "."], check=True)

    def add_program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def sampan(
        self, *words: str, documents: str = "", hook: str = "", host: str = "inventory"
    ) -> list[str]:
        """``sampan WORDS`` on a described host.

        Args:
            words: the command line.
            documents: podman's only CDI directory; empty = the usual ones.
            hook: an installed sampan-hook; empty = as on this machine.
            host: file name of a pickled inventory, see ``add_host``.
        """
        return [sys.executable, "-c", PROGRAM, str(self.base / host), documents, hook, *words]

    def add_host(self, name: str, inventory: Inventory) -> str:
        """Another described host, to be given to ``run``."""
        (self.base / name).write_bytes(pickle.dumps(inventory))
        return name

    def install_runtime(self) -> str:
        """``sampan install`` for this host; the path of ``sampan-runtime``."""
        host = self.cdi.host
        (self.base / "config.toml").write_text(
            f'[nvidia-container-cli]\nroot = "{host.root}"\n'
            f'[sampan]\nproc-root = "{host.proc}"\nsys-root = "{host.sys}"\n'
        )
        install(str(self.base / "prefix"))
        return str(self.base / "prefix/bin/sampan-runtime")

    def reload_runtimes(self, runtimes: dict[str, str]) -> None:
        """Have docker's daemon know these runtimes beside its own."""
        known = {name: {"path": path} for name, path in runtimes.items()}
        (self.base / "daemon.json").write_text(json.dumps({"runtimes": known}))
        os.kill(self.daemon, signal.SIGHUP)
        wanted = {"runc", "io.containerd.runc.v2", *runtimes}

        def is_known() -> bool:
            said = self.engine("docker", "info", "--format", "{{json .Runtimes}}").stdout
            return set(json.loads(said)) == wanted

        wait_until(is_known, what="the daemon to know its runtimes")

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": str(REPOSITORY / "src"),
            "PYTHONWARNINGS": "ignore",
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            **more,
        }

    def run(
        self, engine: str, *words: str, stdin: str | None = None, documents: str = "", hook: str = "",
        host: str = "inventory", **variables: str,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """``sampan run --engine ENGINE WORDS`` to its end; no network, for there is no bridge here."""
        line = ("run", "--engine", engine, "--network", "none", *words)
        return subprocess.run(
            self.sampan(*line, documents=documents, hook=hook, host=host),
            env=self.environment(**variables),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def engine(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """An engine's own command."""
        return subprocess.run(
            words, env=self.environment(), capture_output=True, text=True, timeout=120, **more
        )


@contextlib.contextmanager
def foreign_engines(daemon_options: str = "", suite: str = "sid") -> Iterator[ForeignEngines]:
    """The engines of a Debian suite in one session.

    Args:
        daemon_options: of dockerd; ``{base}`` is the directory of the tests.
        suite: ``sid``, or ``bookworm`` with docker 20.10.
    """
    if os.geteuid() != 0:
        pytest.skip("the chroot of Debian sid needs root")
    base = Path(tempfile.mkdtemp(prefix="sampan-foreign-", dir="/tmp"))
    base.chmod(0o755)
    try:
        made = ForeignEngines(base)
        with _session(made, daemon_options.format(base=base), suite):
            yield made
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def _session(made: ForeignEngines, options: str, suite: str) -> Iterator[None]:
    base = made.base
    (base / "daemon.json").write_text("{}")
    chosen = [] if suite == "sid" else ["--suite", suite]
    session = subprocess.Popen(
        [SCRIPT, *chosen, "sh", "-c", _SESSION],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "base": str(base),
            "options": options,
            "NVIDIA_CTK_CONFIG_FILE_PATH": str(base / "config.toml"),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert session.stdout is not None
        assert session.stderr is not None
        if session.stdout.readline().strip() != "ready":
            pytest.skip(f"no docker of Debian {suite} here: {session.stderr.read().strip()}")
        inside = Path(f"/proc/{session.pid}/task/{session.pid}/children").read_text().split()[0]
        enter = f"nsenter --target {inside} --mount --wdns=/"
        below = Path(f"/proc/{inside}/task/{inside}/children").read_text().split()
        made.daemon = next(
            int(pid) for pid in below if "dockerd" in Path(f"/proc/{pid}/comm").read_text()
        )
        made.add_program(
            "docker",
            f'export DOCKER_HOST=unix:///run/docker.sock\nexec {enter} /usr/bin/docker "$@"',
        )
        podman = f"/usr/bin/podman --cgroup-manager=cgroupfs --root {base}/podman --runroot /run/foreign-podman"
        made.add_program(
            "podman",
            f'export PODMAN_IGNORE_CGROUPSV1_WARNING=1\nexec {enter} --pid {podman} "$@"',
        )
        for engine in ("docker", "podman"):
            done = made.engine(engine, "import", str(base / "small.tar"), IMAGE)
            assert done.returncode == 0, done.stderr
        yield
        made.engine("podman", "rm", "--force", "--all", "--time", "0")
    finally:
        session.communicate(timeout=60)


def output(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines of a program that ended well."""
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def seen(*gpus: int) -> list[str]:
    """What ``/program`` says of LOOK in a container with these GPUs."""
    return [
        f"libcuda.so.1 {CUDA}", f"libcuda.so {CUDA}", f"libnvidia-opencl.so.1 {OPENCL}",
        *(f"/dev/nvidia{gpu} {f'195:{gpu}' if gpu in gpus else 'absent'}" for gpu in (0, 1)),
        "/dev/nvidiactl 195:255",
    ]  # fmt: skip
