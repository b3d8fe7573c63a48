"""Layers as tar bytes, the images linked from them, and file trees as comparable records."""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sampan.images.link import link_image
from sampan.images.pack import pack_layer
from sampan.images.pack_file import load_index
from sampan.images.sif import locate_system_partition
from sampan.model.facts import ImageFacts

CONFIG = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}}
DIGEST = "sha256:" + "5a" * 32

KINDS = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}


class Item(NamedTuple):
    """One tar entry; ``kind`` is a key of KINDS."""

    path: str
    kind: str = "file"
    content: bytes = b""
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = 1_600_000_000
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, str], ...] = ()


def whiteout(path: str) -> Item:
    head, _, name = path.rpartition("/")
    return Item(f"{head}/.wh.{name}" if head else f".wh.{name}")


def opaque(path: str) -> Item:
    return Item(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq")


def make_tar(items: Iterable[Item]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in items:
            info = tarfile.TarInfo(item.path)
            info.type = KINDS[item.kind]
            info.linkname = item.link
            info.mode, info.uid, info.gid, info.mtime = item.mode, item.uid, item.gid, item.mtime
            info.devmajor, info.devminor = item.device
            info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in item.xattrs}
            if item.kind == "file":
                info.size = len(item.content)
            tar.addfile(info, io.BytesIO(item.content) if item.kind == "file" else None)
    return buffer.getvalue()


def link_tars(
    directory: Path,
    tars: Sequence[bytes],
    *,
    config: dict | None = None,
    compression: str = "zstd",
    name: str = "image.sif",
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ImageFacts]:
    """Pack and link layers; everything is written below ``directory``."""
    packs = []
    for tar in tars:
        stem = hashlib.sha256(tar).hexdigest()[:16] + "." + compression
        data, index = directory / f"{stem}.pack", directory / f"{stem}.index"
        if not index.exists():
            pack_layer(
                io.BytesIO(tar), data, index, layer=stem, expected_digest=None,
                expected_diff_id=None, compression=compression, workers=1,
            )  # fmt: skip
        packs.append((load_index(index), data))
    target = directory / name
    facts = link_image(
        packs,
        json.dumps(config or CONFIG).encode(),
        target,
        digest=DIGEST,
        reference="docker.io/library/test:latest",
        compression=compression,
        warn=warn,
    )
    return target, facts


def extract_squashfs(sif: Path, target: Path) -> Path:
    """The bare squashfs of a SIF, in a file of its own."""
    offset, length = locate_system_partition(sif)
    with sif.open("rb") as source, target.open("wb") as out:
        done = 0
        while done < length:
            done += os.copy_file_range(
                source.fileno(), out.fileno(), length - done, offset + done, done
            )
    return target


class Mounted:
    """The squashfs of a SIF, mounted by the kernel, or by squashfuse where it may not."""

    def __init__(self, sif: Path, point: Path) -> None:
        self.sif, self.point = sif, point

    def __enter__(self) -> Path:
        self.point.mkdir(exist_ok=True)
        offset, length = locate_system_partition(self.sif)
        subprocess.run(
            ["mount", "-t", "squashfs", "-o", f"loop,ro,offset={offset},sizelimit={length}",
             str(self.sif), str(self.point)],
            check=True, capture_output=True,
        )  # fmt: skip
        return self.point

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self.point)], check=True)


def why_no_kernel_mount(directory: Path) -> str:
    """Why the kernel mounts no squashfs for us here, found by trying; empty when it does."""
    sif, _ = link_tars(directory, [make_tar([Item("probe")])], name="probe.sif")
    try:
        with Mounted(sif, directory / "probe") as point:
            return "" if (point / "probe").exists() else "mounted, but empty"
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{error}: {getattr(error, 'stderr', b'')!r}"


class Record(NamedTuple):
    """What a program inside the image can see of one path."""

    kind: int
    mode: int
    uid: int
    gid: int
    size: int
    content: str
    mtime: int
    link: str
    links: int
    same_file_as: str
    device: tuple[int, int]
    xattrs: tuple[tuple[str, bytes], ...]


def list_tree(root: Path, *, skip_missing: bool = False) -> dict[str, Record]:
    """Every path below ``root`` but the root itself.

    ``skip_missing`` leaves out names that a directory lists but that nobody can look up, as
    overlayfs has them for a whiteout with nothing below.
    """
    records: dict[str, Record] = {}
    first_names: dict[int, str] = {}
    base = os.fsencode(root)
    for directory, names, files in sorted(os.walk(base)):
        for name in sorted(names + files):
            path = os.path.join(directory, name)
            if skip_missing and not os.path.lexists(path):
                continue
            shown = os.fsdecode(os.path.relpath(path, base))
            records[shown] = _record(path, shown, first_names)
    return records


def _record(path: bytes, shown: str, first_names: dict[int, str]) -> Record:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    content = link = ""
    if kind == stat.S_IFREG:
        with open(path, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
    elif kind == stat.S_IFLNK:
        link = os.fsdecode(os.readlink(path))
    is_directory = kind == stat.S_IFDIR
    return Record(
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        0 if is_directory else status.st_size,
        content,
        int(status.st_mtime // 1),
        link,
        0 if is_directory else status.st_nlink,
        "" if is_directory else first_names.setdefault(status.st_ino, shown),
        (os.major(status.st_rdev), os.minor(status.st_rdev)),
        _xattrs(path),
    )


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a squashfs without any attribute
            return ()
        raise
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))


def without_ours(records: dict[str, Record]) -> dict[str, Record]:
    """Leave out what Sampan adds to an image that has nothing at these paths."""
    added = {
        "singularity", "environment", ".exec", ".run", ".shell", ".test", "dev", "etc", "home",
        "proc", "root", "sys", "tmp", "var", "var/tmp", "etc/hosts", "etc/resolv.conf", "etc/rc",
        "etc/environment", "etc/fstab",
    }  # fmt: skip
    return {
        path: record
        for path, record in records.items()
        if path not in added and not path.startswith(".singularity.d")
    }


def write_oci_layout(directory: Path, tars: Sequence[bytes]) -> None:
    """An OCI layout with one image, tagged ``test``."""
    shutil.rmtree(directory, ignore_errors=True)
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(data: bytes, media_type: str) -> dict:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{name}",
            "size": len(data),
        }

    layers = [store(tar, "layer.v1.tar") for tar in tars]
    diff_ids = [layer["digest"] for layer in layers]
    config = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": []}
    manifest = {
        "schemaVersion": 2,
        "config": store(json.dumps(config).encode(), "config.v1+json"),
        "layers": layers,
    }
    entry = store(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "test"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def umoci_unpack(tars: Sequence[bytes], directory: Path) -> tuple[Path, str]:
    """Unpack the layers with umoci; the rootfs, and what it complained about."""
    write_oci_layout(directory / "oci", tars)
    rootfs = directory / "rootfs"
    shutil.rmtree(rootfs, ignore_errors=True)
    done = subprocess.run(
        ["umoci", "raw", "unpack", "--image", f"{directory / 'oci'}:test", str(rootfs)],
        capture_output=True, text=True,
    )  # fmt: skip
    return rootfs, done.stderr if done.returncode else ""
