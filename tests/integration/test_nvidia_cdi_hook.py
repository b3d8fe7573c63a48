"""``nvidia-cdi-hook``, our program of that name: documents of NVIDIA's form work with it in raw runc."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from sampan.injection.cdi_jobs import HookChoice
from support.dropin_host import LIBRARIES, DropinHost

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DropinHost]:
    if os.geteuid() != 0:
        pytest.skip("raw runtimes need root here")
    base = tmp_path_factory.mktemp("nvidia-hook")
    made = DropinHost(base)
    hook = made.prefix / "libexec/sampan/nvidia-cdi-hook"
    made.cdi.write(HookChoice(str(hook), nvidia=True))
    made.configure(runtime=f'modes.cdi.spec-dirs = ["{made.cdi.directory}"]')
    yield made
    shutil.rmtree(base, ignore_errors=True)


def test_libraries_are_found_by_name_after_nvidias_hooks(host: DropinHost) -> None:
    bundle = host.make_bundle("document", *LIBRARIES, "/dev/nvidia1", NVIDIA_VISIBLE_DEVICES="nvidia.com/gpu=1")  # fmt: skip
    done = host.run(bundle)
    assert done.stderr == ""
    lines = [f"{name} {number}" for name, number in LIBRARIES.items()]
    assert done.stdout.splitlines() == [*lines, "/dev/nvidia1 195:1"]


def call(host: DropinHost, *words: str, bundle: str) -> subprocess.CompletedProcess[str]:
    state = f'{{"ociVersion": "1.0.2", "id": "x", "pid": 1, "bundle": "{bundle}"}}'
    return subprocess.run(
        [str(host.prefix / "bin/nvidia-cdi-hook"), *words],
        input=state, capture_output=True, text=True,
    )  # fmt: skip


def test_links_stay_inside_the_container(host: DropinHost) -> None:
    bundle = host.make_bundle("links")
    outside = host.base / "outside"
    outside.mkdir()
    (bundle / "rootfs/out").symlink_to(outside)
    words = ("create-symlinks", "--link", "a.so.1::/out/a.so", "--link=b.so.1::/usr/../../../b.so")
    done = call(host, *words, bundle=str(bundle))
    assert done.returncode == 0, done.stderr
    assert list(outside.iterdir()) == []
    assert os.readlink(bundle / "rootfs" / str(outside).lstrip("/") / "a.so") == "a.so.1"
    assert os.readlink(bundle / "rootfs/b.so") == "b.so.1"


@pytest.mark.parametrize("words", [["noop"], ["chmod", "--mode", "755", "--path", "/dev/dri"], ["of-a-newer-version", "--x=1"]])  # fmt: skip
def test_a_name_that_does_nothing_is_no_error(host: DropinHost, words: list[str]) -> None:
    bundle = host.base / "quiet"
    if not bundle.exists():
        host.make_bundle("quiet")
    done = call(host, *words, bundle=str(bundle))
    assert done.returncode == 0
    assert ("passed over" in done.stderr) == (words[0] == "of-a-newer-version")


def test_hostile_files_in_a_library_folder_are_read_over(host: DropinHost) -> None:
    bundle = host.make_bundle("folder")
    folder = bundle / "rootfs/usr/lib64"
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / "libfifo.so")
    (folder / "libhuge.so").write_bytes(b"\x7fELF" + b"\xff" * 4096)
    (folder / "libout.so").symlink_to("/etc/shadow")
    done = call(host, "update-ldcache", "--folder", "/usr/lib64", bundle=str(bundle))
    assert done.returncode == 0, done.stderr
    assert not (bundle / "rootfs/etc/ld.so.cache").exists()


def test_without_a_container_it_says_so(host: DropinHost) -> None:
    done = call(host, "create-symlinks", "--link", "a::/b", bundle="/nonexistent")
    assert done.returncode == 1
    assert "/nonexistent/config.json" in done.stderr
