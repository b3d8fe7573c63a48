"""The kernel's overlayfs over layers extracted by tar: what docker, podman and containerd show."""

import os
import shutil
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.layer_stacks import Item, Record, list_tree, make_tar, opaque, whiteout

_OPAQUE = "trusted.overlay.opaque"
_MARK = ".wh."
_OPAQUE_MARK = ".wh..wh..opq"


def overlay_tree(tars: Sequence[bytes], directory: Path) -> tuple[dict[str, Record], str]:
    """Every path of the layers, lowest first, laid over each other; and why tar refused a layer.

    No entry may be dated now: directories that are, tar has made.
    """
    work = directory / "layers"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    extracted: list[Path] = []
    for number, tar in enumerate(tars):
        layer = work / str(number)
        layer.mkdir()
        started = time.time()
        done = subprocess.run(
            ["tar", "--extract", "--directory", str(layer), "--preserve-permissions",
             "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*",
             "--delay-directory-restore"],
            input=tar, capture_output=True,
        )  # fmt: skip
        if done.returncode:
            return {}, done.stderr.decode(errors="replace")
        made = _made_by_tar(layer, started)
        with _overlaid(extracted, work / "below") as below:
            _dress_made_directories(layer, made, below)
        _convert_marks(layer)
        extracted.append(layer)
    with _overlaid(extracted, work / "merged") as merged:
        return _counted_links(list_tree(merged, skip_missing=True)), ""


def why_no_overlay(directory: Path) -> str:
    """Why no layers can be laid over each other here, found by trying; empty when they can."""
    try:
        tree, complaint = overlay_tree(
            [
                make_tar([Item("d/a"), Item("d/b"), Item("e/c")]),
                make_tar([whiteout("d/a"), opaque("e"), Item("x", xattrs=(("trusted.x", "y"),))]),
            ],
            directory,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{error}: {getattr(error, 'stderr', b'')!r}"
    return complaint or ("" if set(tree) == {"d", "d/b", "e", "x"} else f"it shows {sorted(tree)}")


@contextmanager
def _overlaid(layers: Sequence[Path], point: Path) -> Iterator[Path]:
    """The layers, lowest first, mounted read-only."""
    point.mkdir(exist_ok=True)
    empty = point.with_name("empty")
    empty.mkdir(exist_ok=True)
    # Without a writable layer the kernel wants two; an empty one at the bottom changes nothing.
    lower = ":".join(str(layer) for layer in [*reversed(layers), empty])
    if not layers:
        yield empty
        return
    subprocess.run(
        ["mount", "-t", "overlay", "-o", f"ro,lowerdir={lower}", "overlay", str(point)],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def _made_by_tar(layer: Path, started: float) -> set[str]:
    """Directories that the layer has without declaring them."""
    span = range(int(started) - 1, int(time.time()) + 2)
    return {
        os.path.relpath(directory, layer)
        for directory, _, _ in os.walk(layer)
        if int(os.lstat(directory).st_mtime) in span
    }


def _dress_made_directories(layer: Path, made: set[str], below: Path) -> None:
    """Give directories that tar made the attributes of those that they cover, as containerd does;
    root's, 0755, dated 0 where they cover none.
    """
    covering = {"."}
    dressed: list[tuple[str, os.stat_result | None]] = []
    for directory, names, files in os.walk(layer):
        inside = os.path.relpath(directory, layer)
        for name in names:
            path = os.path.normpath(os.path.join(inside, name))
            covered = None
            hidden = inside not in covering or {_MARK + name, _OPAQUE_MARK} & set(files)
            if not hidden and os.path.lexists(below / path):
                covered = os.lstat(below / path)
            if covered is not None and stat.S_ISDIR(covered.st_mode):
                covering.add(path)
            else:
                covered = None
            if path in made and not os.path.islink(layer / path):
                dressed.append((path, covered))
    for path, covered in dressed:
        target = layer / path
        if covered is None:
            os.chmod(target, 0o755)
            os.utime(target, (0, 0))
            continue
        for name in os.listxattr(below / path):
            os.setxattr(target, name, os.getxattr(below / path, name))
        os.chown(target, covered.st_uid, covered.st_gid)
        os.chmod(target, stat.S_IMODE(covered.st_mode))
        os.utime(target, ns=(covered.st_mtime_ns, covered.st_mtime_ns))


def _convert_marks(layer: Path) -> None:
    """Turn ``.wh.`` files into what overlayfs takes for them, leaving all dates as they were."""
    for directory, _, files in os.walk(layer):
        marks = [name for name in files if name.startswith(_MARK)]
        if not marks:
            continue
        dated = os.lstat(directory).st_mtime_ns
        for name in marks:
            os.unlink(os.path.join(directory, name))
            hidden = os.path.join(directory, name.removeprefix(_MARK))
            if name == _OPAQUE_MARK:
                os.setxattr(directory, _OPAQUE, b"y")
            elif not os.path.lexists(hidden):
                os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0))
            elif os.path.isdir(hidden) and not os.path.islink(hidden):
                os.setxattr(hidden, _OPAQUE, b"y")
        os.utime(directory, ns=(dated, dated))


def _counted_links(records: dict[str, Record]) -> dict[str, Record]:
    """Link counts by the names that are seen: overlayfs counts those of the layer, hidden ones
    too.
    """
    names = Counter(record.same_file_as for record in records.values() if record.same_file_as)
    return {
        path: record._replace(links=names[record.same_file_as]) if record.same_file_as else record
        for path, record in records.items()
    }
