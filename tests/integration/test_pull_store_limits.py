"""A store that is full, limited or read-only: said with the number and a way out, nothing half left."""

import ctypes
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.images.store_layout import StoreLayout
from sampan.kernel.libc import MNT_DETACH, umount
from support.layouts import LayoutMaker, make_tar, named
from support.pull_host import pull_environment
from support.registries import Front, front, layout_backend

pytestmark = pytest.mark.integration

NOISE = make_tar({"noise": random.Random(2).randbytes(20 << 20)})
SMALL = make_tar({"etc": None, "etc/name": b"small"})
UID = 65501


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Front]:
    maker = LayoutMaker(tmp_path / "layout")
    maker.write_index([
        named(maker.add_image([NOISE]), "noise"),
        named(maker.add_image([SMALL]), "small"),
    ])  # fmt: skip
    with front(layout_backend(maker.root)) as served:
        yield served


def set_quota(place: Path, *, kibibytes: int) -> None:
    """Limit the test's user: Q_SETQUOTA by quotactl_fd(2), as setquota does it."""
    limits = ctypes.create_string_buffer(struct.pack("=8QI4x", kibibytes, *[0] * 7, 1))
    descriptor = os.open(place, os.O_RDONLY)
    command = ctypes.c_ulong(0x800008 << 8)
    done = ctypes.CDLL(None).syscall(443, descriptor, command, UID, limits)
    os.close(descriptor)
    assert done == 0


class Disk:
    """A file system in a file, mounted."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = StoreLayout(str(place / "store"))

    def pull(
        self, name: str, *, before: str = "", uid: int = 0
    ) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "sampan", "pull", name]
        if uid:
            command = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]
        return subprocess.run(
            ["sh", "-c", f'{before}exec "$@"', "sh", *command],
            env=pull_environment(self.store, self.place),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def left(self) -> list[str]:
        """Files that look like an image, a pack or work under way."""
        endings = (".sif", ".index", ".record.json")
        return [
            path.name
            for path in self.place.rglob("*")
            if path.name.endswith(endings) or path.name.startswith(".tmp-")
        ]


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """As the parameter says: (kind, megabytes, mkfs options, mount options)."""
    kind, size, make_options, mount_options = request.param
    place, image = tmp_path / "disk", tmp_path / "disk.img"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    options = ["-o", mount_options] if mount_options else []
    if kind == "tmpfs":
        wanted = ",".join([f"size={size}m", *options[1:]])
        command = ["mount", "-t", "tmpfs", "-o", wanted, "none", str(place)]
    else:
        if shutil.which(f"mkfs.{kind}") is None:
            pytest.skip(f"mkfs.{kind} is not installed")
        with image.open("wb") as stream:
            stream.truncate(size << 20)
        subprocess.run(
            [f"mkfs.{kind}", "-q", *make_options, str(image)], check=True, capture_output=True
        )
        loop = ",".join(["loop", *(options[1:] or [])])
        command = ["mount", "-o", loop, str(image), str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this kernel does not mount {kind} {mount_options}: {done.stderr.strip()}")
    place.chmod(0o777)
    try:
        yield Disk(place)
    finally:
        umount(str(place), MNT_DETACH)


@pytest.mark.parametrize("disk", [("tmpfs", 15, [], "")], indirect=True, ids=["tmpfs"])
def test_what_cannot_fit_is_said_before_the_first_layer(disk: Disk, registry: Front) -> None:
    done = disk.pull(f"{registry.host}/a:noise")
    assert done.returncode == 125
    assert "error[store]: not enough room in the store" in done.stderr
    assert "on the file system" in done.stderr
    assert "are missing" in done.stderr
    assert len(registry.paths("/blobs/")) == 1
    assert disk.left() == []


@pytest.mark.parametrize("disk", [("tmpfs", 60, [], "nr_inodes=8")], indirect=True, ids=["tmpfs"])
def test_too_few_inodes_are_said_before_the_first_layer(disk: Disk, registry: Front) -> None:
    done = disk.pull(f"{registry.host}/a:small")
    assert done.returncode == 125
    assert "needs at least 9 inodes, 7 are free on the file system: 2 are missing" in done.stderr
    assert len(registry.paths("/blobs/")) == 1


@pytest.mark.parametrize("disk", [("ext4", 60, [], "")], indirect=True, ids=["ext4"])
def test_a_disk_that_becomes_full_meanwhile_is_said_with_a_way_out(
    disk: Disk, registry: Front
) -> None:
    def intercept(handler: object) -> bool:
        # The preflight has seen room; now somebody else takes it.
        if registry.paths("/blobs/")[1:] and not (disk.place / "filler").exists():
            free = os.statvfs(disk.place)
            with (disk.place / "filler").open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, (free.f_bfree - 2500) * free.f_frsize)
        return False

    registry.intercept = intercept
    done = disk.pull(f"{registry.host}/a:noise")
    assert done.returncode == 125, done.stderr
    assert "error[store]: cannot write to the store" in done.stderr
    assert "No space left on device" in done.stderr
    assert "sampan prune" in done.stderr
    assert disk.left() == []
    (disk.place / "filler").unlink()
    registry.intercept = lambda _: False
    assert disk.pull(f"{registry.host}/a:small").returncode == 0


@pytest.mark.parametrize("disk", [("btrfs", 150, [], "")], indirect=True, ids=["btrfs"])
def test_a_quota_that_the_system_does_not_tell_of_is_said_when_it_is_reached(
    disk: Disk, registry: Front
) -> None:
    """A quota group of btrfs stands for all that quotactl does not know: NFS, Lustre."""
    for words in (["quota", "enable"], ["qgroup", "limit", "9M", "0/5"]):
        subprocess.run(["btrfs", *words, str(disk.place)], check=True, capture_output=True)
    done = disk.pull(f"{registry.host}/a:noise")
    assert done.returncode == 125, done.stderr
    assert "Disk quota exceeded" in done.stderr
    assert "your quota is used up: sampan prune" in done.stderr
    assert disk.left() == []


@pytest.mark.parametrize(
    "disk",
    [("ext4", 100, ["-O", "quota", "-E", "quotatype=usrquota"], "usrquota")],
    indirect=True,
    ids=["ext4"],
)
def test_a_users_quota_is_said_before_the_first_layer(disk: Disk, registry: Front) -> None:
    set_quota(disk.place, kibibytes=8192)
    done = disk.pull(f"{registry.host}/a:noise", uid=UID)
    assert done.returncode == 125
    assert "in the user's quota" in done.stderr
    assert len(registry.paths("/blobs/")) == 1


@pytest.mark.parametrize("disk", [("ext4", 60, [], "")], indirect=True, ids=["ext4"])
def test_a_read_only_store_says_so_and_what_is_in_it_is_still_found(
    disk: Disk, registry: Front
) -> None:
    name = f"{registry.host}/a:small"
    assert disk.pull(name).returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk.place)], check=True)
    done = disk.pull(f"{registry.host}/a:noise")
    assert done.returncode == 125
    assert "error[store]" in done.stderr
    assert "read-only" in done.stderr
    assert "SAMPAN_STORE=" in done.stderr
    current = disk.pull(name)
    assert (current.returncode, current.stderr) == (0, f"{name}: up to date\n")
