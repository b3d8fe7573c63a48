"""What the tar programs of this machine write is packed as the file system had it."""

import gzip
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.model.layer import EntryKind
from support.tars import Packed

pytestmark = pytest.mark.integration

KINDS = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFCHR: EntryKind.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryKind.BLOCK_DEVICE,
}
# What each dialect can say beyond whole seconds and plain names.
DIALECTS = {
    "tar --format=pax --sparse --xattrs --xattrs-include=*": "nanoseconds xattrs",
    "tar --format=posix --sparse --sparse-version=0.0": "nanoseconds",
    "tar --format=posix --sparse --sparse-version=0.1": "nanoseconds",
    "tar --format=gnu --sparse": "",
    "tar --format=gnu": "",
    "bsdtar --format=pax --read-sparse --xattrs": "nanoseconds xattrs",
    "bsdtar --format=gnutar": "not-before-1970",
}


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def can_make_nodes(directory: Path) -> bool:
    try:
        os.mknod(directory / "probe", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        return False
    os.unlink(directory / "probe")
    return True


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of everything a layer may hold."""
    root = tmp_path_factory.mktemp("tree") / "root"
    deep = root / ("d" * 120) / ("e" * 120) / ("f" * 120)
    deep.mkdir(parents=True)
    (deep / "leaf").write_bytes(b"deep")
    (root / "empty").touch()
    (root / "plain").write_bytes(b"plain" * 1000)
    (root / "big").write_bytes(os.urandom(300_000) + bytes(200_000) + b"end")
    os.link(root / "plain", root / "second name of plain")
    os.symlink("../" + "t" * 150, root / "link")
    os.mkfifo(root / "fifo")
    (root / "setuid").write_bytes(b"s")
    os.chmod(root / "setuid", 0o6755)
    with open(root / "sparse", "wb") as stream:
        for at in (1 << 20, 5 << 20, (5 << 20) + 8192):
            stream.seek(at)
            stream.write(b"data" * 1024)
        stream.truncate(9 << 20)
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9\xff")).write_bytes(b"latin")
    (root / "new\nline and \\").write_bytes(b"odd")
    if can_make_nodes(root):
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 300))
    if os.geteuid() == 0:
        os.chown(root / "plain", 12345, 3_000_000)
    os.setxattr(root / "plain", "user.note", b"value \0 with NUL")
    os.utime(root / "empty", ns=(0, 1_600_000_000_123_456_789))
    os.utime(root / "big", ns=(0, -86_400_000_000_000))
    return root


def write_tar(dialect: str, tree: Path) -> bytes:
    command = dialect.split()
    needs(command[0])
    order = sorted(os.listdir(os.fsencode(tree)))
    names = b"\0".join(b"./" + name for name in order)
    done = subprocess.run(
        [*command, "-c", "-f", "-", "-C", str(tree), "--null", "-T", "-"],
        input=names,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_file_is_packed_as_it_was_on_disk(dialect: str, tree: Path, tmp_path: Path) -> None:
    packed = Packed(tmp_path, write_tar(dialect, tree))
    entries = packed.entries
    root = os.fsencode(tree)
    seen = set()
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            full = os.path.join(directory, name)
            path = os.path.relpath(full, root)
            seen.add(path)
            on_disk, entry = os.lstat(full), entries[path]
            if entry.kind == EntryKind.HARD_LINK:
                assert os.path.samefile(full, os.path.join(root, entry.link))
                continue
            assert entry.kind == KINDS[stat.S_IFMT(on_disk.st_mode)]
            assert entry.mode == stat.S_IMODE(on_disk.st_mode)
            assert (entry.uid, entry.gid) == (on_disk.st_uid, on_disk.st_gid)
            if "nanoseconds" in DIALECTS[dialect]:
                assert entry.mtime == on_disk.st_mtime_ns
            elif on_disk.st_mtime_ns >= 0 or "not-before-1970" not in DIALECTS[dialect]:
                assert entry.mtime // 10**9 == on_disk.st_mtime_ns // 10**9
            if entry.kind == EntryKind.SYMLINK:
                assert entry.link == os.readlink(full)
            elif entry.kind == EntryKind.FILE:
                assert packed.read(path) == Path(os.fsdecode(full)).read_bytes()
                if "xattrs" in DIALECTS[dialect]:
                    assert dict(entry.xattrs) == {
                        key.encode(): os.getxattr(full, key) for key in os.listxattr(full)
                    }
            elif entry.kind in (EntryKind.CHARACTER_DEVICE, EntryKind.BLOCK_DEVICE):
                assert entry.device == (os.major(on_disk.st_rdev), os.minor(on_disk.st_rdev))
    assert seen == set(entries)


def test_all_programs_agree_on_the_contents(tree: Path, tmp_path: Path) -> None:
    digests = set()
    for number, dialect in enumerate(DIALECTS):
        if shutil.which(dialect.split()[0]):
            packed = Packed(tmp_path / str(number), write_tar(dialect, tree))
            digests.add(frozenset(content.digest for content in packed.index.contents))
    assert len(digests) == 1


@pytest.mark.parametrize("program", ["gzip -1", "zstd", "xz -0", "bzip2 -1"])
def test_streams_of_the_real_compressors_are_read(program: str, tree: Path, tmp_path: Path) -> None:
    tar = write_tar("tar --format=gnu", tree)
    command = program.split()
    needs(command[0])
    squeezed = subprocess.run([*command, "-c"], input=tar, capture_output=True, check=True).stdout
    assert len(squeezed) < len(tar)
    plain, packed = Packed(tmp_path / "1", tar), Packed(tmp_path / "2", squeezed)
    assert packed.index.diff_id == plain.index.digest
    assert packed.data_path.read_bytes() == plain.data_path.read_bytes()


PACK = """
import sys
from pathlib import Path
from sampan.images.pack import pack_layer
pack_layer(sys.stdin.buffer, Path(sys.argv[1], "data"), Path(sys.argv[1], "index"),
           layer="killed", expected_digest=None, expected_diff_id=None,
           progress=lambda done: print(done, flush=True))
print("packed", flush=True)
"""


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_kill_9_leaves_nothing_but_temporaries(share: float, tmp_path: Path) -> None:
    noise = os.urandom(4 << 20)
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(5):
        (tree / f"f{number}").write_bytes(bytes([number]) + noise)
    layer = gzip.compress(write_tar("tar --format=gnu", tree), 1)
    store = tmp_path / "store"
    store.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", PACK, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The last byte is held back, so that the packer is alive, somewhere, when it is killed.
        sent = int((len(layer) - 1) * share)
        process.stdin.write(layer[:sent])
        process.stdin.flush()
        if share:
            assert int(process.stdout.readline()) > 0
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert all(name.startswith(".tmp-") for name in os.listdir(store))
    assert Packed(store, layer).index.digest.startswith("sha256:")
