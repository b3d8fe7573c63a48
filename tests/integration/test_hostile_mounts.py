"""What a hook mounts stays in the container, even where a volume is shared with the host (class 4)."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.dropin.stub import install_hook
from sampan.model.hook import HookLibrary, HookRequest, render_hook_arguments

pytestmark = pytest.mark.integration
CUDA = HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580.1", ("libcuda.so.1",))


class SharedVolume:
    """A host with a directory that a container has as a shared volume at ``/volume``."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "bundle/rootfs"
        self.volume = base / "volume"
        for name in ("usr/lib64", "volume", "proc"):
            (self.root / name).mkdir(parents=True)
        (self.root / "lib64").symlink_to("usr/lib64")
        (self.root / "usr/lib64/ld-linux-x86-64.so.2").write_bytes(b"\x7fELF")
        (base / "bundle/config.json").write_text('{"root": {"path": "rootfs"}}')
        (self.volume / "etc").mkdir(parents=True)
        (self.volume / "etc/ld.so.cache").write_text("the host's\n")
        (self.volume / "dri").mkdir(mode=0o700)
        self.hook = install_hook(str(base / "hook"))

    def run(self, request: HookRequest, *, propagation: str) -> list[str]:
        """Run the hook in the container's mount namespace; what the host's then has mounted there."""
        state = json.dumps({"ociVersion": "1.0.2", "bundle": str(self.base / "bundle")})
        inner = f"""
            mount --bind {self.root} {self.root}
            mount --make-private {self.root}
            mount -o remount,bind,ro {self.root}
            mount --bind {self.volume} {self.root}/volume
            mount --make-{propagation} {self.root}/volume
            printf %s '{state}' | {self.hook} "$@"
        """
        outer = f"""
            set -e
            mount --make-rprivate /
            mount --bind {self.volume} {self.volume}
            mount --make-shared {self.volume}
            unshare --mount --propagation unchanged sh -ec '{inner.replace("'", "'" + '"' + "'" + '"' + "'")}' sh "$@" >&2
            grep {self.volume} /proc/self/mountinfo
            cat {self.volume}/etc/ld.so.cache
        """
        words = render_hook_arguments(request)[1:]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", outer, "sh", *words], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def shared() -> Iterator[SharedVolume]:
    if os.geteuid() != 0:
        pytest.skip("mounts of the tests need root")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"unshare --mount true: {tried.stderr.strip()}")
    base = Path(tempfile.mkdtemp(prefix="sampan-shared-", dir="/tmp"))
    base.chmod(0o755)
    yield SharedVolume(base)
    shutil.rmtree(base)


@pytest.mark.parametrize("propagation", ["shared", "slave"])
def test_a_link_of_the_image_into_a_shared_volume_brings_no_mount_to_the_host(
    shared: SharedVolume, propagation: str
) -> None:
    (shared.root / "etc").symlink_to("/volume/etc")
    mounted, content = shared.run(HookRequest(libraries=(CUDA,)), propagation=propagation)
    assert mounted.split()[4] == str(shared.volume)
    assert content == "the host's"


def test_a_link_of_the_image_at_dev_opens_no_directory_of_a_volume(shared: SharedVolume) -> None:
    (shared.root / "etc").mkdir()
    (shared.root / "dev").symlink_to("/volume")
    shared.run(HookRequest(), propagation="private")
    assert (shared.volume / "dri").stat().st_mode & 0o777 == 0o700
