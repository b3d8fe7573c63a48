"""Containers with GPUs from images that mean harm: the host's files stay, nothing of the image runs on it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.compiled import compile_library
from support.driver_machine import Machine, V
from support.engine_host import USERS, EngineHost, engine_host
from support.hostile import ODD_KINDS, plant, plant_canaries, plant_modules, take_snapshot

pytestmark = pytest.mark.integration
everybody = pytest.mark.parametrize("user", USERS)
LIBRARY_DIRECTORY = f"usr/lib/{os.uname().machine}-linux-gnu"
PLACES = (
    "etc/ld.so.cache", "etc/OpenCL/vendors/nvidia.icd", "etc/OpenCL/vendors", "etc/nvidia",
    "etc/vulkan", "usr/share/vulkan", "usr/share/glvnd", f"{LIBRARY_DIRECTORY}/libcuda.so.{V}",
    f"{LIBRARY_DIRECTORY}/libcuda.so.1", f"{LIBRARY_DIRECTORY}/libcuda.so",
    f"{LIBRARY_DIRECTORY}/gbm", "usr/bin/nvidia-smi", "usr/local/cuda/compat", "usr/local/nvidia",
    "lib/firmware", "run/nvidia-persistenced", "tmp/nvidia-mps", "etc/ld.so.conf",
    "etc/ld.so.conf.d", "etc/ld-musl-x86_64.path", "etc/ld.so.preload",
)  # fmt: skip
"""What the plan writes, mounts on or looks at, besides the kernel's own trees."""
EVIL = """
#include <fcntl.h>
#include <unistd.h>
static void __attribute__((constructor)) mark(void) {
    close(open("MARK", O_CREAT | O_WRONLY | O_APPEND, 0666));
}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineHost]:
    with engine_host() as host:
        yield host


@pytest.fixture
def machine(engine: EngineHost) -> Machine:
    return Machine(engine)


@pytest.fixture
def outside(machine: Machine) -> Path:
    """A directory that everybody may write to, as the host's /tmp is."""
    place = machine.host.base / "outside"
    (place / "vendors").mkdir(parents=True)
    for name in ("ld.so.cache", "nvidia.icd", f"libcuda.so.{V}", "vendors/nvidia.icd"):
        (place / name).write_text("the host's\n")
    for path in (place, place / "vendors"):
        path.chmod(0o777)
    return place


@pytest.mark.parametrize("kind", [kind for kind in ODD_KINDS if kind != "socket"])
def test_odd_things_at_every_path_of_the_import_change_nothing_of_the_host(
    machine: Machine, outside: Path, kind: str
) -> None:
    for place in PLACES:
        if kind == "fifo" and place == "etc/ld.so.preload":
            # The container's own loader would wait for it, in the container.
            continue
        planted = machine.image.path / place
        if not any(parent.is_symlink() for parent in planted.parents):
            plant(planted, kind, outside)
    machine.import_image()
    before = take_snapshot(outside), take_snapshot(machine.host.root)
    for user in USERS:
        done = machine.start("run", "--rm", "--gpus", "all", "small", "/program", user=user)
        assert "Traceback" not in done.stderr
        assert all(one.isprintable() or one == "\n" for one in done.stderr)
        assert (take_snapshot(outside), take_snapshot(machine.host.root)) == before, user


@pytest.mark.parametrize("directory", ["etc", "usr", LIBRARY_DIRECTORY, "run", "proc", "dev"])
@pytest.mark.parametrize("kind", ["absolute", "upwards", "magic", "chain"])
def test_whole_directories_that_are_links_lead_the_import_nowhere(
    machine: Machine, outside: Path, directory: str, kind: str
) -> None:
    target = machine.image.path / directory
    if target.is_dir():
        subprocess.run(["rm", "-rf", target], check=True)
    plant(target, kind, outside)
    machine.import_image()
    before = take_snapshot(outside), take_snapshot(machine.host.root)
    done = machine.start("run", "--rm", "--gpus", "all", "small", "/program", "libcuda.so.1")
    assert "Traceback" not in done.stderr
    assert (take_snapshot(outside), take_snapshot(machine.host.root)) == before


@everybody
def test_cve_2025_23266_variables_of_an_image_reach_no_process_of_the_host(
    machine: Machine, outside: Path, user: str
) -> None:
    mark = outside / "mark"
    source = machine.host.base / "evil.c"
    source.write_text(EVIL.replace("MARK", str(mark)))
    (machine.host.base / "evil").mkdir()
    evil = compile_library(source, machine.host.base / "evil/libevil.so", "libevil.so")
    (machine.host.base / "evil/libc.so.6").symlink_to(evil.name)
    plant_modules(machine.host.base / "evil", mark)
    for program in ("crun", "conmon", "mount", "fusermount", "newuidmap", "squashfuse_ll", "sh"):
        plant_canaries(machine.host.base / "evil", mark, program)
    place = evil.parent
    machine.import_image(
        f"ENV LD_PRELOAD={evil} LD_AUDIT={evil} LD_LIBRARY_PATH={place} PYTHONPATH={place}"
        f" PYTHONHOME={place} PYTHONSTARTUP={place}/os.py PATH={place} HOME={place}"
        f" XDG_CACHE_HOME={place} BASH_ENV={place}/sh ENV={place}/sh GCONV_PATH={place}"
    )
    done = machine.start(
        "run", "--rm", "--gpus", "all", "small", "/program", "$PYTHONPATH", user=user
    )
    assert done.returncode == 0, done.stderr
    assert f"$PYTHONPATH {place}" in done.stdout
    started = machine.start("run", "-d", "--gpus", "all", "small", "/program", "$PATH", user=user)
    assert started.returncode == 0, started.stderr
    word = started.stdout.strip()
    machine.start("wait", word, user=user)
    assert str(place) in machine.start("logs", word, user=user).stdout
    machine.start("rm", "-f", word, user=user)
    assert not mark.exists(), mark.read_text()


@everybody
def test_cve_2024_0135_no_program_of_an_image_is_run_to_import_the_driver(
    machine: Machine, outside: Path, user: str
) -> None:
    mark = outside / "mark"
    names = ("sbin/ldconfig", "sbin/ldconfig.real", "usr/sbin/ldconfig", "usr/bin/python3",
             "usr/bin/nvidia-ctk", "bin/mount", "bin/sh", "usr/bin/env")  # fmt: skip
    plant_canaries(machine.image.path, mark, *names)
    machine.import_image()
    before = take_snapshot(outside), take_snapshot(machine.host.root)
    done = machine.start(
        "run", "--rm", "--gpus", "all", "small", "/program", "libcuda.so.1", user=user
    )
    assert done.stdout.split() == ["libcuda.so.1", "580"], done.stderr
    assert (take_snapshot(outside), take_snapshot(machine.host.root)) == before


def test_cve_2025_23359_compat_libraries_of_an_image_lead_nowhere_and_are_never_mounted(
    machine: Machine, outside: Path
) -> None:
    compat = machine.image.path / "usr/local/cuda/compat"
    compat.mkdir(parents=True)
    for number in range(300):
        (compat / f"libcuda.so.{number}.1").symlink_to(outside / "ld.so.cache")
    (compat / "libcuda.so.999.1\n\x1b[2J").write_bytes(b"\x7fELF" * 100)
    (compat / "libcuda.so.1").symlink_to(outside)
    machine.import_image()
    before = take_snapshot(outside), take_snapshot(machine.host.root)
    done = machine.start("run", "--rm", "--gpus", "all", "small", "/program", "libcuda.so.1")
    assert done.stdout.split() == ["libcuda.so.1", "580"], done.stderr
    shown = machine.start("explain", "--gpus", "all", "small")
    for text in (done.stderr, shown.stdout, shown.stderr):
        assert all(one.isprintable() or one == "\n" for one in text), ascii(text)
    assert (take_snapshot(outside), take_snapshot(machine.host.root)) == before


def test_a_container_cannot_change_the_drivers_files_of_the_host(machine: Machine) -> None:
    busybox = machine.image.path / "busybox"
    subprocess.run(["cp", "/bin/busybox", busybox], check=True)
    machine.import_image()
    before = take_snapshot(machine.host.root)
    script = (
        "/busybox mount -o remount,rw,bind $1; echo x >> $1; /busybox rm -f $1; /busybox chmod 777 $1;"
        " /busybox chmod 777 /dev/nvidia0; /busybox umount $1; echo x >> $1; true"
    )
    for path in (f"/{LIBRARY_DIRECTORY}/libcuda.so.{V}", "/usr/bin/nvidia-smi", "/dev/nvidia0"):
        machine.start(
            "run", "--rm", "--gpus", "all", "small", "/busybox", "sh", "-c", script, "sh", path
        )
    after = take_snapshot(machine.host.root)
    assert after == before
