"""Root file systems made for tests, and the comparison of two trees entry by entry."""

import contextlib
import os
import random
import stat
import struct
import subprocess
from pathlib import Path

from sampan.images.sif import locate_system_partition


def make_tree(root: Path, *, megabytes: int = 1, seed: int = 1, nodes: bool = True) -> Path:
    """A small tree with one of everything that this user can make."""
    chance = random.Random(seed)
    for name in ("bin", "etc", "usr/lib", "usr/share/empty", "var/log", "tmp", "dev"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "bin/program").write_bytes(b"\x7fELF" + chance.randbytes(70_000))
    (root / "bin/program").chmod(0o4755)
    (root / "usr/lib/big").write_bytes(chance.randbytes(megabytes << 20))
    (root / "usr/lib/same").write_bytes((root / "usr/lib/big").read_bytes())
    (root / "usr/lib/zeros").write_bytes(bytes(1 << 20))
    os.link(root / "usr/lib/big", root / "usr/lib/zz-hard")
    for number in range(200):
        (root / f"usr/share/f{number}").write_bytes(chance.randbytes(chance.randrange(3000)))
    (root / "lib").symlink_to("usr/lib")
    (root / "var/log/dangling").symlink_to("/nowhere/at/all")
    with (root / "var/log/sparse").open("wb") as stream:
        stream.seek(3 << 20)
        stream.write(b"data")
        stream.truncate(9 << 20)
    os.mkfifo(root / "tmp/pipe")
    (root / "tmp").chmod(0o1777)
    if nodes:
        with contextlib.suppress(PermissionError):
            os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with contextlib.suppress(OSError):
        os.setxattr(root / "etc/passwd", "user.note", b"value")
    with contextlib.suppress(OSError):
        # cap_net_bind_service+ep, VFS_CAP_REVISION_2
        value = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
        os.setxattr(root / "bin/program", "security.capability", value)
    (root / os.fsdecode(b"var/caf\xe9")).write_bytes(b"a name that is no text")
    for path in [*root.rglob("*"), root]:
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    return root


def unpack_sif(sif: Path, target: Path) -> Path:
    """The file system of a SIF, unpacked by squashfs-tools."""
    offset, _ = locate_system_partition(str(sif))
    subprocess.run(
        ["unsquashfs", "-no-progress", "-quiet", "-o", str(offset), "-d", target, sif],
        check=True,
        capture_output=True,
    )
    return target


def describe_tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Each path with all that an image must keep of it."""
    inodes: dict[tuple[int, int], str] = {}
    found = {}
    for path in [root, *sorted(root.rglob("*"))]:
        state = path.lstat()
        name = str(path.relative_to(root))
        first = inodes.setdefault((state.st_dev, state.st_ino), name)
        mode = stat.S_IMODE(state.st_mode)
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if key.startswith(("user.", "security.capability"))
        }
        common = (stat.S_IFMT(state.st_mode), mode, state.st_uid, state.st_gid, first, attributes)
        if stat.S_ISREG(state.st_mode):
            found[name] = (*common, int(state.st_mtime), path.read_bytes())
        elif stat.S_ISLNK(state.st_mode):
            found[name] = (*common, int(state.st_mtime), os.readlink(path))
        else:
            found[name] = (*common, int(state.st_mtime), state.st_rdev)
    return found


def differences(expected: Path, found: Path) -> dict[str, object]:
    """Entries of ``expected`` that ``found`` has not, or has otherwise; what was added is ours."""
    there = describe_tree(found)
    wrong: dict[str, object] = {}
    for name, entry in describe_tree(expected).items():
        if there.get(name) != entry:
            wrong[name] = (
                [part if not isinstance(part, bytes) else len(part) for part in entry],
                (there.get(name) or "missing"),
            )
    return wrong
