"""Docker and podman of Debian sid with our CDI document and our hook: what their containers see."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.dropin.stub import install_hook
from sampan.injection.cdi_jobs import HookChoice
from support.cdi_host import CUDA, OPENCL, CdiHost
from support.small_root import SmallRoot

pytestmark = pytest.mark.integration
REPOSITORY = Path(__file__).parents[2]
PODMAN = "podman --cdi-spec-dir {cdi} --cgroup-manager=cgroupfs"
RUN = {
    "docker": "docker {verb} --network none --device nvidia.com/gpu={device} {options} {image} {words}",
    "podman": PODMAN + " {verb} --network none --ulimit host --device nvidia.com/gpu={device}"
    " {options} {image} {words}",
}
PROFILE = "/etc/nvidia/nvidia-application-profiles-rc.d/10-container.conf"
SEEN = f"libcuda.so.1 libcuda.so libnvidia-opencl.so.1 /dev/nvidia0 /dev/nvidia1 \\$NVIDIA_VISIBLE_DEVICES {PROFILE}"


class Peers:
    """The document, the hook and images of a test run below ``base``; engines in the chroot."""

    def __init__(self, base: Path) -> None:
        self.base = base
        # Root alone may change it, as where it will be installed.
        self.hook = Path(install_hook(str(base / "hook")))
        lines = self.hook.read_text().splitlines(keepends=True)
        lines[0] = "#!/usr/bin/python3 -BIS\n"
        self.hook.write_text("".join(lines))
        self.cdi = CdiHost(base)
        self.cdi.write(HookChoice(str(self.hook)))
        root = SmallRoot(base / "small").path
        busybox, ldconfig = (
            shutil.which("busybox"),
            shutil.which("ldconfig", path="/sbin:/usr/sbin"),
        )
        assert busybox is not None
        assert ldconfig is not None
        (root / "bin").mkdir(exist_ok=True)
        (root / "sbin").mkdir(exist_ok=True)
        shutil.copy(busybox, root / "bin/busybox")
        shutil.copy(ldconfig, root / "sbin/ldconfig")
        subprocess.run([ldconfig, "-r", str(root)], check=True, capture_output=True)
        # A second image keeps its libraries elsewhere, behind a link, and has no loader cache.
        linked = base / "linked"
        shutil.copytree(root, linked, symlinks=True)
        (linked / "etc/ld.so.cache").unlink()
        (linked / "usr").mkdir(exist_ok=True)
        (linked / "opt/libraries").mkdir(parents=True)
        (linked / "usr/lib64").symlink_to("/opt/libraries")
        # And one is nothing but a static program.
        (base / "static/bin").mkdir(parents=True)
        shutil.copy(busybox, base / "static/bin/busybox")

    def script(self, engine: str, *steps: str) -> list[list[str]]:
        """Run steps in one session of the engine; the lines that each printed."""
        importing = "docker import -" if engine == "docker" else "podman import -q -"
        images = "\n".join(
            f"tar -C {self.base}/{name} -c . | {importing} sampan-hook-{name} >/dev/null 2>&1"
            for name in ("small", "linked", "static")
        )
        body = "\necho =====\n".join(steps)
        text = f"""
            set -e
            mkdir -p /var/run/cdi
            cp {self.cdi.directory}/nvidia.yaml /var/run/cdi/
            {images}
            trap '{engine} rm -f sampan-again >/dev/null 2>&1 || true;
              {engine} rmi sampan-hook-small sampan-hook-linked sampan-hook-static >/dev/null' EXIT
            {body}
        """
        words = [
            "scripts/engines-sid",
            *(["--docker"] if engine == "docker" else []),
            "sh",
            "-c",
            text,
        ]
        done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY)
        if done.returncode == 77:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, (done.stdout, done.stderr)
        return [part.strip().splitlines() for part in done.stdout.split("=====\n")]

    def run(
        self, engine: str, words: str, *, device: str = "1", image: str = "small", options: str = "",
        verb: str = "run --rm",
    ) -> str:  # fmt: skip
        return RUN[engine].format(
            cdi=self.cdi.directory, verb=verb, device=device, options=options,
            image=f"sampan-hook-{image}", words=words,
        )  # fmt: skip


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    if os.geteuid() != 0:
        pytest.skip("the chroot of Debian sid needs root")
    base = tmp_path_factory.mktemp("engines")
    yield Peers(base)
    shutil.rmtree(base, ignore_errors=True)


def seen(*, gpu: int = 1, profile: str = "") -> list[str]:
    return [
        f"libcuda.so.1 {CUDA}", f"libcuda.so {CUDA}", f"libnvidia-opencl.so.1 {OPENCL}",
        f"/dev/nvidia0 {'195:0' if gpu == 0 else 'absent'}",
        f"/dev/nvidia1 {'195:1' if gpu == 1 else 'absent'}",
        "$NVIDIA_VISIBLE_DEVICES void",
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_containers_of_other_engines_have_the_driver_through_our_hook(
    peers: Peers, engine: str
) -> None:
    program = f"/program {SEEN}"
    parts = peers.script(
        engine,
        peers.run(engine, program),
        peers.run(engine, program, device="0", image="linked"),
        peers.run(engine, "/sbin/ldconfig -p"),
        peers.run(engine, f"/bin/busybox cat {PROFILE}"),
        peers.run(engine, program, options="--read-only"),
        peers.run(engine, program, options="--name sampan-again", verb="run"),
        f"{engine} start -a sampan-again",
        peers.run(engine, "/bin/busybox sh -c 'id -G; find /dev/nvidia* /dev/dri -type c'",
            device="all"),
        peers.run(engine, "/bin/busybox true && echo fine", image="static"),
    )  # fmt: skip
    first, linked, cache, profile, read_only, created, again, nodes, static = parts
    assert first[:-1] == seen()
    assert linked[:-1] == seen(gpu=0)
    assert any(line.split()[0] == "libcuda.so.1" and line.endswith("/usr/lib64/libcuda.so.1")
        for line in cache[1:])  # fmt: skip
    assert any(line.split()[0] == "libc.so.6" for line in cache[1:])
    assert "0x2]" in profile[0]
    assert read_only[:-1] == seen()
    assert created[:-1] == seen()
    assert again == created
    # docker (28.5) loses the groups of a document when it sets the container's user.
    assert engine == "docker" or "44" in nodes[0].split()
    assert set(nodes[1:]) == peers.cdi.paths("all")
    assert static == ["fine"]


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_mig_device_is_its_parent_and_its_two_access_nodes_in_other_engines(
    peers: Peers, engine: str
) -> None:
    (peers.base / engine).mkdir()
    mig = CdiHost(peers.base / engine, "mig")
    mig.write(HookChoice(str(peers.hook)), vendor="mig.example.com")
    document = peers.cdi.directory / "mig.yaml"
    shutil.copy(mig.directory / "nvidia.yaml", document)
    find = "/bin/busybox sh -c 'find /dev/nvidia* /dev/dri -type c 2>/dev/null; true'"
    _, one, drawing = peers.script(
        engine,
        f"cp {document} /var/run/cdi/",
        *(
            peers.run(engine, find, device=device).replace("nvidia.com/", "mig.example.com/")
            for device in ("0:1", "2:0")
        ),
    )
    document.unlink()
    assert set(one) == mig.paths("0:1")
    assert {path for path in one if "nvidia-cap" in path or path[-1].isdecimal()} == {
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap48",
        "/dev/nvidia-caps/nvidia-cap49",
    }
    assert set(drawing) == mig.paths("2:0")
    assert "/dev/dri/renderD128" in drawing


OLD_PODMAN = """
    set -e
    mount --make-rprivate /
    mkdir -p {base}/etc/upper/cdi {base}/etc/work
    cp {base}/cdi/nvidia.yaml {base}/etc/upper/cdi/
    mount -t overlay overlay -o lowerdir=/etc,upperdir={base}/etc/upper,workdir={base}/etc/work /etc
    if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi
    # Podman takes a run root of 50 characters at the most: a directory of pytest's may be longer.
    mount -t tmpfs tmpfs /mnt
    exec podman --root {base}/graph --runroot /mnt run --rm --cgroups=disabled --network none \
      --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --device nvidia.com/gpu=1 --rootfs {base}/small /program {seen}
"""


def test_podman_of_debian_12_reads_a_document_without_groups(peers: Peers) -> None:
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    installed = install_hook(str(peers.base / "hook-here"))
    peers.cdi.write(HookChoice(installed), additional_gids=False, version="")
    script = OLD_PODMAN.format(base=peers.base, seen=SEEN)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:-1] == seen()
