"""A site store of many images that share layers, carried elsewhere: export and import against copies.

    python benchmarks/store [--images 50] [--runs 3] [--work DIRECTORY]

The images are made of this machine's own files: two bases of 16 MB, six middles of 12 MB, a top of
2 MB each. Every row starts from the same images and ends with all of them at the other place. Rows
are run interleaved; printed are medians, the bytes that had to be carried, the bytes at the other
place, the wall time on this disk, and the time with 100 Mbit/s between (computed: wall time plus the
carried bytes), with its ratio to the first row. Without --work all is removed at the end.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

SOURCES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib",
    "/usr/share",
    "/usr/bin",
)
BASES, MIDDLES = 2, 6
BASE_BYTES, MIDDLE_BYTES, TOP_BYTES = 16 << 20, 12 << 20, 2 << 20
LINK_BYTES_S = 100e6 / 8


class Row(NamedTuple):
    """One way; ``run`` is measured, and returns the bytes that travelled."""

    name: str
    run: Callable[[Path], int]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3, help="of each row")
    parser.add_argument("--work", type=Path, help="where all of it lies; kept")
    arguments = parser.parse_args()
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
        return _bench(arguments.work, arguments.images, arguments.runs)
    with tempfile.TemporaryDirectory(prefix="sampan-store-bench-", dir="/var/tmp") as place:
        return _bench(Path(place), arguments.images, arguments.runs)


def _bench(work: Path, images: int, runs: int) -> int:
    store, sifs, trees = work / "store", work / "sifs", work / "trees"
    _make_images(work, images)
    for path in store.glob("images/sha256/*.sif"):
        sifs.mkdir(exist_ok=True)
        shutil.copy(path, sifs)
    rows = [
        Row("sampan store export | import", lambda to: _export_import(store, to)),
        Row("cp -a of the store (packs and images)", lambda to: _copy(store, to)),
        Row("cp -a of the single files (SIF)", lambda to: _copy(sifs, to)),
        Row("cp -a of unpacked trees", lambda to: _copy(trees, to)),
    ]
    if shutil.which("rsync"):
        rows.append(Row("rsync -a of the single files", lambda to: _copy(sifs, to, "rsync")))
        rows.append(Row("rsync -a of unpacked trees", lambda to: _copy(trees, to, "rsync")))
    else:
        print("left out: rsync is not installed")
    walls: dict[str, list[float]] = {row.name: [] for row in rows}
    carried: dict[str, int] = {}
    stays: dict[str, int] = {}
    for number in range(runs):
        for row in rows:
            target = work / "target"
            shutil.rmtree(target, ignore_errors=True)
            os.sync()
            started = time.monotonic()
            carried[row.name] = row.run(target)
            # What is not on the disk has not arrived.
            os.sync()
            walls[row.name].append(time.monotonic() - started)
            stays[row.name] = _size(target)
            print(f"  run {number + 1}: {row.name}: {walls[row.name][-1]:.2f} s", file=sys.stderr)
    shutil.rmtree(work / "target", ignore_errors=True)
    _print_usage(store)
    print(
        f"\n{'':<40}{'wall s':>8}{'carried MB':>12}{'there MB':>10}{'at 100 Mbit s':>15}{'ratio':>8}"
    )
    ours = 0.0
    for row in rows:
        wall = median(walls[row.name])
        linked = wall + carried[row.name] / LINK_BYTES_S
        ours = ours or linked
        print(
            f"{row.name:<40}{wall:>8.2f}{carried[row.name] / 1e6:>12.0f}"
            f"{stays[row.name] / 1e6:>10.0f}{linked:>15.1f}{linked / ours:>8.2f}"
        )
    return 0


def _export_import(store: Path, target: Path) -> int:
    exported = target / "export"
    target.mkdir()
    _sampan(store, "store", "export", "-q", "-o", str(exported))
    size = exported.stat().st_size
    _sampan(target / "store", "store", "import", "-q", str(exported))
    exported.unlink()
    return size


def _copy(source: Path, target: Path, program: str = "cp") -> int:
    subprocess.run([program, "-a", str(source), str(target)], check=True)
    return _size(source)


def _print_usage(store: Path) -> None:
    usage = json.loads(_sampan(store, "store", "du", "--json"))
    print(
        f"{len(usage['images'])} images: layers {usage['pack_bytes'] / 1e6:.0f} MB, "
        f"{usage['ratio']:.1f} times as much without sharing; "
        f"single files {usage['image_bytes'] / 1e6:.0f} MB"
    )


def _sampan(store: Path, *words: str) -> str:
    program = str(Path(sys.executable).with_name("sampan"))
    variables = {**os.environ, "SAMPAN_STORE": str(store), "SAMPAN_SITE_STORES": ""}
    done = subprocess.run([program, *words], env=variables, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def _size(directory: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*") if not path.is_dir())


def _make_images(work: Path, images: int) -> None:
    """The store and the unpacked trees; nothing when they are there from an earlier run."""
    if (work / "made").exists() and (work / "made").read_text() == str(images):
        return
    for name in ("store", "trees", "sifs", "layout"):
        shutil.rmtree(work / name, ignore_errors=True)
    files = _files()
    bases = [_layer(files, BASE_BYTES) for _ in range(BASES)]
    middles = [_layer(files, MIDDLE_BYTES) for _ in range(MIDDLES)]
    for number in range(images):
        layers = [bases[number % BASES], middles[number % MIDDLES], _layer(files, TOP_BYTES)]
        layout = work / "layout"
        _write_layout(layout, layers)
        _sampan(work / "store", "import", "-q", f"oci:{layout}", f"bench/image{number}:1")
        shutil.rmtree(layout)
        tree = work / "trees" / str(number)
        tree.mkdir(parents=True)
        for layer in layers:
            subprocess.run(["tar", "-x", "-C", str(tree)], input=layer, check=True)
    (work / "made").write_text(str(images))


def _files() -> Iterator[tuple[str, bytes]]:
    """Regular files of this machine, none of them large, each once."""
    seen: set[tuple[int, int]] = set()
    for source in SOURCES:
        for directory, names, files in os.walk(source):
            names.sort()
            for name in sorted(files):
                path = Path(directory, name)
                status = path.lstat()
                known = (status.st_dev, status.st_ino)
                if path.is_symlink() or not 0 < status.st_size < 2 << 20 or known in seen:
                    continue
                seen.add(known)
                yield str(path).lstrip("/"), path.read_bytes()
    raise SystemExit("this machine has too few files for so many images: give --images FEWER")


def _layer(files: Iterator[tuple[str, bytes]], size: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        while target.tell() < size:
            name, content = next(files)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _write_layout(root: Path, layers: list[bytes]) -> None:
    blobs = root / "blobs/sha256"
    blobs.mkdir(parents=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    tars = [add(layer, "layer.v1.tar") for layer in layers]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [tar["digest"] for tar in tars]},
    }
    manifest = {
        "schemaVersion": 2,
        "config": add(json.dumps(config).encode(), "config.v1+json"),
        "layers": tars,
    }
    entry = add(json.dumps(manifest).encode(), "manifest.v1+json")
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


if __name__ == "__main__":
    sys.exit(main())
