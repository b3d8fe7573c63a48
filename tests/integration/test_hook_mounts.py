"""The installed hook as a process, with mounts: params, read-only roots, mounts of others, its start."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.dropin.stub import MODULES, install_hook
from sampan.model.hook import HookFile, HookLibrary, HookRequest, render_hook_arguments
from sampan.model.ldcache import parse_loader_cache

pytestmark = pytest.mark.integration
CUDA = HookLibrary("x86_64", "/usr/lib64", "libcuda.so.580.1", ("libcuda.so.1",))
PARAMS = "/proc/driver/nvidia/params"


class Container:
    """A bundle below ``base`` and the hook, run in a mount namespace of its own."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "bundle/rootfs"
        for name in ("etc", "usr/lib64", "dev", "proc/driver/nvidia"):
            (self.root / name).mkdir(parents=True)
        (self.root / "lib64").symlink_to("usr/lib64")
        (self.root / "usr/lib64/ld-linux-x86-64.so.2").write_bytes(b"\x7fELF")
        (base / "bundle/config.json").write_text('{"root": {"path": "rootfs"}}')
        self.hook = install_hook(str(base / "hook"))

    def run(
        self, request: HookRequest, *, before: str = "", after: str = "true", rootless: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """Shell steps, the hook, shell steps; ``$R`` is the root, the hook's exit status ``$code``."""
        words = render_hook_arguments(request)[1:]
        state = json.dumps({"ociVersion": "1.0.2", "bundle": str(self.base / "bundle")})
        script = f"""
            set -e
            mount --make-rprivate /
            R={self.root}
            {before}
            code=0
            cd $R
            printf %s '{state}' | LD_PRELOAD= PYTHONPATH=$R PYTHONHOME=$R {self.hook} "$@" || code=$?
            {after}
            exit $code
        """
        namespace = ["unshare", "--mount", *(["--map-root-user"] if rootless else [])]
        return subprocess.run(
            [*namespace, "sh", "-c", script, "sh", *words], capture_output=True, text=True
        )


@pytest.fixture
def container() -> Iterator[Container]:
    if os.geteuid() != 0:
        pytest.skip("mounts of the tests need root")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"unshare --mount true: {tried.stderr.strip()}")
    base = Path(tempfile.mkdtemp(prefix="sampan-hook-", dir="/tmp"))
    base.chmod(0o755)
    yield Container(base)
    shutil.rmtree(base)


@pytest.mark.parametrize("rootless", [False, True], ids=["root", "user namespace"])
def test_params_say_that_the_driver_makes_no_nodes(container: Container, rootless: bool) -> None:
    (container.root / PARAMS[1:]).write_text("ResmanDebugLevel: 4\nModifyDeviceFiles: 1\n")
    done = container.run(
        HookRequest(params=True),
        after=f"cat $R{PARAMS}; ls -A $R/proc/driver/nvidia; echo x 2>&1 >>$R{PARAMS} || true",
        rootless=rootless,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == ["ResmanDebugLevel: 4", "ModifyDeviceFiles: 0", "params"]
    assert "Read-only" in done.stdout + done.stderr
    assert (container.root / PARAMS[1:]).read_text().endswith("ModifyDeviceFiles: 1\n")


def test_params_are_covered_once_however_often_the_hook_runs(container: Container) -> None:
    (container.root / PARAMS[1:]).write_text("ModifyDeviceFiles: 1\n")
    again = f'printf %s \'{{"bundle": "{container.base}/bundle"}}\' | {container.hook} "$@"'
    done = container.run(HookRequest(params=True), after=f"{again}; grep -c sampan /proc/mounts")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"]


def test_params_that_are_a_link_fail_the_start(container: Container) -> None:
    (container.root / PARAMS[1:]).symlink_to("/etc/params")
    (container.root / "etc/params").write_text("ModifyDeviceFiles: 1\n")
    done = container.run(HookRequest(params=True))
    assert done.returncode == 1
    assert "the container could make nodes of other GPUs" in done.stderr


def test_a_root_that_is_only_mounted_read_only_is_made_ready(container: Container) -> None:
    files = (HookFile("/etc/OpenCL/vendors/nvidia.icd", "x\n"),)
    done = container.run(
        HookRequest(libraries=(CUDA,), files=files),
        before="mount --bind $R $R; mount -o remount,bind,ro $R",
        after="touch $R/etc/x 2>&1 || true",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Read-only" in done.stdout
    assert os.readlink(container.root / "usr/lib64/libcuda.so.1") == "libcuda.so.580.1"
    assert (container.root / files[0].path[1:]).read_text() == "x\n"
    assert len(parse_loader_cache((container.root / "etc/ld.so.cache").read_bytes()).entries) == 2


def test_on_a_read_only_file_system_the_loader_cache_is_covered(container: Container) -> None:
    cache = container.root / "etc/ld.so.cache"
    cache.write_bytes(b"")
    (container.base / "bundle/rootfs.ro").mkdir()
    done = container.run(
        HookRequest(libraries=(CUDA,), files=(HookFile("/etc/OpenCL/vendors/nvidia.icd", "x\n"),)),
        before="mount -t tmpfs tmpfs $R.ro; cp -a $R/. $R.ro/; mount -o remount,ro $R.ro;"
        " mount --bind $R.ro $R",
        after="cat $R/etc/ld.so.cache > $R/../../seen",
    )
    assert done.returncode == 0, done.stderr
    assert (
        "sampan-hook: /etc/OpenCL/vendors/nvidia.icd is left out: Read-only file system"
        in done.stderr
    )
    assert "the link /usr/lib64/libcuda.so.1 (Read-only file system) cannot be made" in done.stderr
    entries = parse_loader_cache((container.base / "seen").read_bytes()).entries
    assert {(entry.name, entry.path) for entry in entries} == {
        (b"libcuda.so.1", b"/usr/lib64/libcuda.so.580.1"),
        (b"libcuda.so.580.1", b"/usr/lib64/libcuda.so.580.1"),
    }
    assert cache.read_bytes() == b""


def test_what_others_mounted_into_the_container_is_not_written_to(container: Container) -> None:
    outside = container.base / "volume"
    outside.mkdir()
    done = container.run(
        HookRequest(libraries=(CUDA,), files=(HookFile("/etc/vulkan/icd.d/x.json", "{}"),)),
        before=f"mkdir $R/etc/vulkan; mount --bind {outside} $R/etc/vulkan;"
        f" mount --bind {outside} $R/usr/lib64",
    )
    assert done.returncode == 0, done.stderr
    assert list(outside.iterdir()) == []
    assert "/etc/vulkan/icd.d/x.json is left out: it lies on a mount" in done.stderr


def test_the_installed_hook_needs_nothing_of_ours_but_what_was_copied(container: Container) -> None:
    copies = {
        str(path.relative_to(path.parents[len(path.parts) - path.parts.index("sampan") - 1]))
        for path in (container.base / "hook").rglob("*.py")
        if "sampan" in path.parts
    }
    assert len(copies) == len(MODULES)
    # A sampan of the container's own, found by PYTHONPATH or the working directory, stays unread.
    (container.root / "sampan").mkdir()
    (container.root / "sampan/__init__.py").write_text("raise SystemExit('taken in')")
    done = container.run(HookRequest(libraries=(CUDA,)))
    assert done.returncode == 0, done.stderr
    assert os.readlink(container.root / "usr/lib64/libcuda.so.1") == "libcuda.so.580.1"


def test_installing_again_leaves_one_copy_of_the_modules(container: Container) -> None:
    before = sorted(path.name for path in (container.base / "hook").iterdir())
    assert install_hook(str(container.base / "hook")) == container.hook
    assert sorted(path.name for path in (container.base / "hook").iterdir()) == before


def test_a_directory_that_others_may_write_is_no_place_for_the_hook(container: Container) -> None:
    from sampan.dropin.stub import HookInstallError

    place = container.base / "open"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(HookInstallError) as caught:
        install_hook(str(place))
    assert "may be written by others" in caught.value.evidence
