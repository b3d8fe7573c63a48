"""Images at the edges of squashfs and of tar, read back by the kernel and by unsquashfs."""

import io
import json
import os
import random
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from sampan.errors import SampanError
from sampan.images.link import link_image
from sampan.images.overlay import merge_layers
from sampan.images.pack import pack_layer
from sampan.images.pack_file import load_index
from sampan.images.sif import locate_system_partition
from sampan.images.squashfs import layout
from sampan.images.squashfs.layout import SquashfsLimitError
from sampan.images.squashfs.writer import write_squashfs
from sampan.model.layer import Entry, EntryKind, PackIndex
from support.layer_stacks import (
    CONFIG,
    DIGEST,
    Item,
    Mounted,
    extract_squashfs,
    link_tars,
    list_tree,
    make_tar,
    umoci_unpack,
    why_no_kernel_mount,
    without_ours,
)

pytestmark = pytest.mark.integration

GIB = 1 << 30


@pytest.fixture(scope="module", autouse=True)
def _needs_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    reason = why_no_kernel_mount(tmp_path_factory.mktemp("probe"))
    if reason:
        pytest.skip(f"the kernel mounts no squashfs here: {reason}")


def entry(path: bytes, kind: EntryKind, **fields) -> Entry:
    base = Entry(path, kind, 0o644, 0, 0, 10**9, b"", (0, 0), (), -1)
    return base._replace(**fields)


def link_entries(directory: Path, entries: list[Entry]) -> Path:
    """An image of entries without content, made without a tar."""
    data = directory / "empty.pack"
    data.touch()
    pack = PackIndex("zstd", DIGEST, DIGEST, 0, 0, entries, [], [])
    target = directory / "image.sif"
    link_image([(pack, data)], json.dumps(CONFIG).encode(), target, digest=DIGEST)
    return target


def test_a_directory_of_a_hundred_thousand_names_is_complete_and_every_name_is_found(
    tmp_path: Path,
) -> None:
    names = [b"entry-%06d-%s" % (n, b"x" * (n % 40)) for n in range(100_000)]
    shuffled = names[:]
    random.Random(1).shuffle(shuffled)
    sif = link_entries(tmp_path, [entry(b"big/" + name, EntryKind.FIFO) for name in shuffled])
    with Mounted(sif, tmp_path / "m") as point:
        directory = os.fsencode(point / "big")
        assert sorted(os.listdir(directory)) == names
        numbers = {os.lstat(os.path.join(directory, name)).st_ino for name in names[::7]}
        assert len(numbers) == len(names[::7])
        for missing in (b"entry-", b"entry-050000", b"zz", b"a"):
            assert not os.path.lexists(os.path.join(directory, missing))
    if shutil.which("unsquashfs"):
        bare = extract_squashfs(sif, tmp_path / "bare.squashfs")
        listed = subprocess.run(
            ["unsquashfs", "-lls", str(bare), "big"], capture_output=True, check=True
        ).stdout
        assert sum(b"/big/entry-" in line for line in listed.splitlines()) == 100_000


def test_seventy_thousand_files_in_many_directories_keep_their_own_attributes(
    tmp_path: Path,
) -> None:
    entries = [
        entry(b"d%02d/f%05d" % (n % 90, n), EntryKind.FIFO, mode=n % 0o1000, uid=n % 3000)
        for n in range(70_000)
    ]
    sif = link_entries(tmp_path, entries)
    with Mounted(sif, tmp_path / "m") as point:
        seen = set()
        for number in sorted(range(0, 70_000, 3), key=lambda n: n % 90):
            status = os.lstat(point / f"d{number % 90:02d}" / f"f{number:05d}")
            assert stat.S_IMODE(status.st_mode) == number % 0o1000
            assert status.st_uid == number % 3000
            seen.add(status.st_ino)
        assert len(seen) == len(range(0, 70_000, 3))


def test_ten_thousand_directories_deep_is_as_good_as_one(tmp_path: Path) -> None:
    deep = b"/".join([b"d"] * 10_000)
    sif = link_entries(tmp_path, [entry(deep + b"/end", EntryKind.SYMLINK, link=b"target")])
    with Mounted(sif, tmp_path / "m") as point:
        at = os.open(point, os.O_RDONLY)
        for _ in range(10_000):
            below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        assert os.readlink("end", dir_fd=at) == "target"
        os.close(at)


def test_a_sparse_file_beyond_four_gibibytes_has_its_size_its_bytes_and_its_holes(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "sparse").open("wb") as stream:
        stream.write(b"first")
        stream.seek(5 * GIB + 7)
        stream.write(b"last")
    tar = tmp_path / "layer.tar"
    subprocess.run(
        ["tar", "--sparse", "--format=posix", "-C", str(tree), "-cf", str(tar), "sparse"],
        check=True,
    )
    sif, _ = link_tars(tmp_path, [tar.read_bytes()])
    assert sif.stat().st_size < 1 << 20
    with Mounted(sif, tmp_path / "m") as point:
        status = os.stat(point / "sparse")
        assert status.st_size == 5 * GIB + 11
        assert status.st_blocks * 512 < 1 << 20
        with (point / "sparse").open("rb") as stream:
            assert stream.read(6) == b"first\0"
            stream.seek(4 * GIB - 3)
            assert stream.read(10) == bytes(10)
            stream.seek(5 * GIB)
            assert stream.read() == bytes(7) + b"last"


def test_files_that_lie_beyond_four_gibibytes_of_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Data that begins at 5 GiB (a hole before it) is as far away as data behind 5 GiB of others.
    monkeypatch.setattr(layout, "SUPERBLOCK_SIZE", 5 * GIB)
    big = random.Random(2).randbytes(300_000)
    sif, _ = link_tars(
        tmp_path, [make_tar([Item("big", content=big), Item("small", content=b"s")])]
    )
    assert sif.stat().st_size > 5 * GIB
    with Mounted(sif, tmp_path / "m") as point:
        assert (point / "big").read_bytes() == big
        assert (point / "small").read_bytes() == b"s"


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_names_times_devices_and_owners_at_the_edges(tmp_path: Path, compression: str) -> None:
    def odd(number: int) -> str:
        return os.fsdecode(b"raw-\xff\xfe-%d" % number)

    items = [
        Item("before-1970", mtime=-5.5),
        Item("in-1970", mtime=0.25),
        Item("after-2038", mtime=2**31 + 5),
        Item("in-2106", mtime=2**32 - 1),
        Item("after-2106", mtime=2**33),
        Item("big-device", "char", device=(4095, 1048575)),
        Item("small-device", "block", device=(8, 1)),
        Item("pipe", "fifo", mode=0o622),
        Item("owner", uid=2**32 - 2, gid=2**31),
        Item("setuid", content=b"#!", mode=0o6755),
        Item("n" * 255, content=b"long"),
        Item("link", "symlink", link="t" * 4095),
        Item("linked-link", "hardlink", link="link"),
        Item("linked-pipe", "hardlink", link="pipe"),
        Item("linked-device", "hardlink", link="big-device"),
        Item("capability", content=b"x", xattrs=(("security.capability", "\x01\0\0\x02" + "\0" * 16),)),
        Item("acl", xattrs=(("system.posix_acl_access", "x"),)),
        Item("overlay", "dir", xattrs=(("trusted.overlay.opaque", "y"), ("user.kept", "k"))),
    ]  # fmt: skip
    sif, _ = link_tars(tmp_path, [make_tar(items)], compression=compression)
    with Mounted(sif, tmp_path / "m") as point:
        tree = without_ours(list_tree(point))
    times = {name: tree[name].mtime for name in ("before-1970", "in-1970", "after-2038", "in-2106", "after-2106")}  # fmt: skip
    assert times == {
        "before-1970": 0, "in-1970": 0, "after-2038": 2**31 + 5, "in-2106": 2**32 - 1,
        "after-2106": 2**32 - 1,
    }  # fmt: skip
    assert tree["big-device"].device == (4095, 1048575)
    assert tree["small-device"].device == (8, 1)
    assert (tree["owner"].uid, tree["owner"].gid) == (2**32 - 2, 2**31)
    assert tree["setuid"].mode == 0o6755
    assert tree["n" * 255].size == 4
    assert tree["link"].link == "t" * 4095
    for first, second in (("link", "linked-link"), ("linked-pipe", "pipe"), ("big-device", "linked-device")):  # fmt: skip
        assert tree[first].links == tree[second].links == 2
        assert tree[first].same_file_as == tree[second].same_file_as
    assert tree["capability"].xattrs == (("security.capability", b"\x01\0\0\x02" + bytes(16)),)
    assert tree["acl"].xattrs == ()
    assert tree["overlay"].xattrs == (("user.kept", b"k"),)


def test_names_that_are_no_utf8_keep_their_bytes(tmp_path: Path) -> None:
    sif = link_entries(tmp_path, [entry(b"d\xff/\xfe\x01\n", EntryKind.FIFO)])
    with Mounted(sif, tmp_path / "m") as point:
        assert os.listdir(os.fsencode(point) + b"/d\xff") == [b"\xfe\x01\n"]


def test_an_image_without_any_file_of_its_own_mounts(tmp_path: Path) -> None:
    sif = link_entries(tmp_path, [])
    with Mounted(sif, tmp_path / "m") as point:
        assert (point / "proc").is_dir()
        assert stat.S_IMODE(os.stat(point).st_mode) == 0o755


@pytest.mark.parametrize("names", [[], [b"pipe"]])
def test_a_squashfs_without_any_content_mounts(tmp_path: Path, names: list[bytes]) -> None:
    pipes = [entry(name, EntryKind.FIFO) for name in names]
    root = merge_layers([PackIndex("zstd", DIGEST, DIGEST, 0, 0, pipes, [], [])])
    image = tmp_path / "bare.squashfs"
    with image.open("w+b") as stream:
        length = write_squashfs(root, [], "zstd", stream.fileno(), 0)
    assert image.stat().st_size == length
    point = tmp_path / "m"
    point.mkdir()
    subprocess.run(["mount", "-o", "loop,ro", str(image), str(point)], check=True)
    try:
        assert os.listdir(os.fsencode(point)) == names
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_the_root_directory_has_the_attributes_that_a_layer_gives_it(tmp_path: Path) -> None:
    sif = link_entries(tmp_path, [entry(b"", EntryKind.DIRECTORY, mode=0o711, uid=3, gid=4)])
    with Mounted(sif, tmp_path / "m") as point:
        status = os.stat(point)
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o711, 3, 4)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([entry(b"f%d" % n, EntryKind.FIFO, uid=n) for n in range(65_536)], "user and group ids"),
        ([entry(b"n" * 257, EntryKind.FIFO)], "name of 257 bytes"),
        ([entry(b"l", EntryKind.SYMLINK, link=b"t" * 4096)], "target of 4096 bytes"),
        ([entry(b"c", EntryKind.CHARACTER_DEVICE, device=(4096, 0))], "device number 4096:0"),
    ],
    ids=["ids", "name", "link", "device"],
)
def test_what_squashfs_cannot_hold_is_refused_and_leaves_nothing(
    tmp_path: Path, entries: list[Entry], complaint: str
) -> None:
    with pytest.raises(SquashfsLimitError, match=complaint):
        link_entries(tmp_path, entries)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.pack"]


def test_a_damaged_pack_leaves_no_image(tmp_path: Path) -> None:
    data, index = tmp_path / "l.pack", tmp_path / "l.index"
    tar = make_tar([Item("f", content=random.Random(3).randbytes(400_000))])
    pack_layer(io.BytesIO(tar), data, index, layer="l", expected_digest=None, expected_diff_id=None)
    os.truncate(data, 100_000)
    with pytest.raises(SampanError, match="a pack"):
        link_image(
            [(load_index(index), data)],
            json.dumps(CONFIG).encode(),
            tmp_path / "image.sif",
            digest=DIGEST,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.index", "l.pack"]


def _rich_layers() -> list[bytes]:
    noise = random.Random(4)
    lower = [
        Item("usr", "dir", mode=0o755), Item("usr/bin", "dir", mode=0o755),
        Item("bin", "symlink", link="usr/bin"),
        Item("usr/bin/tool", content=noise.randbytes(700_000), mode=0o4755),
        Item("usr/bin/alias", "hardlink", link="usr/bin/tool"),
        Item("data/same-1", content=b"same" * 100_000, xattrs=(("user.a", "1"),)),
        Item("data/same-2", content=b"same" * 100_000, xattrs=(("user.a", "1"),)),
        Item("data/masked", content=b"masked content" * 9),
        Item("data/survivor", "hardlink", link="data/masked"),
    ]  # fmt: skip
    upper = [
        Item("data/.wh.masked"),
        Item("usr/bin/added", content=b"in a lower directory"),
        Item("data/same-3", content=b"same" * 100_000),
        Item("data/block", content=bytes(131072)),
        Item("data/empty"),
    ]
    return [make_tar(lower), make_tar(upper)]


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_the_same_layers_give_the_same_bytes(tmp_path: Path, compression: str) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    images = []
    for directory in (first, second):
        directory.mkdir()
        sif, facts = link_tars(directory, _rich_layers(), compression=compression)
        images.append((sif.read_bytes(), facts))
    assert images[0] == images[1]


def test_content_that_layers_share_is_stored_once(tmp_path: Path) -> None:
    noise = random.Random(5).randbytes(1 << 20)
    layers = [make_tar([Item(f"copy-{n}", content=noise)]) for n in range(4)]
    sif, _ = link_tars(tmp_path, layers)
    assert sif.stat().st_size < 1.2 * len(noise)


def test_unsquashfs_lists_our_image_as_it_lists_that_of_mksquashfs(tmp_path: Path) -> None:
    for tool in ("mksquashfs", "unsquashfs", "umoci"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    tars = _rich_layers()
    rootfs, complaint = umoci_unpack(tars, tmp_path)
    assert not complaint
    theirs = tmp_path / "theirs.squashfs"
    subprocess.run(
        ["mksquashfs", str(rootfs), str(theirs), "-comp", "zstd", "-quiet", "-no-progress"],
        check=True, capture_output=True,
    )  # fmt: skip
    sif, _ = link_tars(tmp_path, tars)
    ours = extract_squashfs(sif, tmp_path / "ours.squashfs")

    def listing(image: Path) -> list[bytes]:
        out = subprocess.run(
            ["unsquashfs", "-lln", "-UTC", str(image)], capture_output=True, check=True
        ).stdout
        lines = [line for line in out.splitlines() if b"squashfs-root/" in line]
        shown = [b"/usr", b"/bin", b"/data"]
        # Directories have other sizes (the order of inodes differs) and, undeclared, other dates.
        return [
            b" ".join(line.split()[:2] + line.split()[5:]) if line.startswith(b"d") else line
            for line in lines
            if any(b"squashfs-root" + top in line for top in shown)
        ]

    assert listing(ours) == listing(theirs)
    for path in ("usr/bin/tool", "data/same-2", "data/survivor", "usr/bin/added", "data/block"):
        read = subprocess.run(
            ["unsquashfs", "-cat", str(ours), path], capture_output=True, check=True
        ).stdout
        assert read == (rootfs / path).read_bytes()


def test_a_tree_of_this_machine_looks_as_tar_extracts_it(tmp_path: Path) -> None:
    source = (
        Path("/usr/share/perl") if Path("/usr/share/perl").is_dir() else Path("/usr/lib/python3")
    )
    tar = tmp_path / "layer.tar"
    subprocess.run(
        ["tar", "-C", "/", "--format=gnu", "-cf", str(tar), str(source).lstrip("/"), "etc/alternatives"],
        check=True,
    )  # fmt: skip
    extracted = tmp_path / "extracted"
    extracted.mkdir()
    subprocess.run(["tar", "-C", str(extracted), "-xpf", str(tar)], check=True)
    sif, _ = link_tars(tmp_path, [tar.read_bytes()])
    with Mounted(sif, tmp_path / "m") as point:
        found = list_tree(point)
    expected = list_tree(extracted)
    undeclared = {str(parent) for path in (source, Path("/etc/alternatives")) for parent in path.relative_to("/").parents}  # fmt: skip
    compared = {path for path in expected if path not in undeclared}
    assert len(compared) > 100
    assert {path: found[path] for path in compared} == {path: expected[path] for path in compared}


def test_squashfuse_shows_what_the_kernel_shows(tmp_path: Path) -> None:
    program = shutil.which("squashfuse_ll") or shutil.which("squashfuse")
    if program is None:
        pytest.skip("squashfuse is not installed")
    point = tmp_path / "fuse"
    point.mkdir()
    # Character devices of a FUSE mount and trusted attributes are the kernel's business, not ours.
    sif, _ = link_tars(tmp_path, _rich_layers())
    offset, _ = locate_system_partition(sif)
    mounted = subprocess.run(
        [program, "-o", f"offset={offset}", str(sif), str(point)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"squashfuse mounts nothing here: {mounted.stderr.strip()}")
    try:
        through_fuse = list_tree(point)
    finally:
        subprocess.run(["umount", str(point)], check=True)
    with Mounted(sif, tmp_path / "m") as kernel_point:
        assert through_fuse == list_tree(kernel_point)


def test_a_file_system_with_reflinks_stores_the_contents_once(tmp_path: Path) -> None:
    make = shutil.which("mkfs.btrfs", path="/usr/sbin:/sbin:" + os.environ["PATH"])
    if make is None:
        pytest.skip("mkfs.btrfs is not installed")
    disk, point = tmp_path / "disk", tmp_path / "btrfs"
    with disk.open("wb") as stream:
        stream.truncate(256 << 20)
    point.mkdir()
    subprocess.run([make, "-q", str(disk)], check=True, capture_output=True)
    mounted = subprocess.run(
        ["mount", "-t", "btrfs", "-o", "loop", str(disk), str(point)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no btrfs here: {mounted.stderr.strip()}")
    try:
        noise = random.Random(6).randbytes(30 << 20)
        link_tars(point, [make_tar([Item("noise", content=noise)])])
        os.sync()
        space = os.statvfs(point)
        used = (space.f_blocks - space.f_bfree) * space.f_frsize
        assert used < 45 << 20, "30 MiB of pack and 30 MiB of image take less than 45"
    finally:
        subprocess.run(["umount", str(point)], check=True)
