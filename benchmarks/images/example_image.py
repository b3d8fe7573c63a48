"""The image that is measured: made once from Debian's packages and PyPI's wheels, then kept."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

DEBIAN = ("binutils-x86-64-linux-gnu", "cmake-data", "cpp-12", "g++-12", "gcc-12", "git",
          "golang-1.19-src", "libboost1.74-dev", "libclang-cpp14", "libllvm14",
          "libpython3.11-stdlib", "libstdc++-12-dev", "perl-modules-5.36", "python3.11-minimal",
          "vim-runtime")  # fmt: skip
FONTS = ("fonts-dejavu-core", "libicu72", "locales", "tzdata")
WHEELS = ("matplotlib", "networkx", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "scipy",
          "sympy")  # fmt: skip
LEAST_BYTES = 1_000_000_000
LEAST_FILES = 20_000


class ExampleImage(NamedTuple):
    """An OCI layout with the tags ``base``, ``derived`` (a small layer on top) and ``changed``.

    ``changed`` is ``derived`` after an edit: only its top layer differs.

    Attributes:
        single: a layout with the base alone, for apptainer, which takes no tag.
        archive: the base as an oci-archive, for podman load.
        merged: the base's tree as one uncompressed tar, for mksquashfs.
    """

    layout: Path
    single: Path
    archive: Path
    merged: Path
    description: str


def make_images(root: Path) -> ExampleImage:
    """Make the layout, or find it made."""
    example = ExampleImage(
        root / "layout", root / "single", root / "base.oci.tar", root / "merged.tar", ""
    )
    facts = root / "facts.json"
    if not facts.exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        print("making the image (once, some minutes)", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            _make(example, Path(scratch), facts)
    if not example.single.exists():
        shutil.copytree(example.layout, example.single, copy_function=os.link)
        index = example.single / "index.json"
        document = json.loads(index.read_text())
        document["manifests"] = document["manifests"][:1]
        index.unlink()
        index.write_text(json.dumps(document))
    known = json.loads(facts.read_text())
    return example._replace(
        description=f"{known['layers']} layers, {known['compressed'] / 1e6:.0f} MB gzip, "
        f"{known['bytes'] / 1e9:.2f} GB, {known['files']:,} entries"
    )


def _make(example: ExampleImage, scratch: Path, facts: Path) -> None:
    layout = _Layout(example.layout)
    layers = []
    base = scratch / "base.tar"
    _run("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", base)
    layers.append(layout.add_layer(base))
    for name, packages in (("tools", DEBIAN), ("fonts", FONTS)):
        _unpack_debian(packages, scratch / name)
        layers.append(layout.add_layer(_tar(scratch / name)))
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"),
        *("--target", scratch / "wheels/usr/local/lib/python3.11/dist-packages", *WHEELS),
    )
    layers.append(layout.add_layer(_tar(scratch / "wheels")))
    layout.add_image("base", layers)
    for step, tag in enumerate(("derived", "changed")):
        app = scratch / "app/opt/app"
        app.mkdir(parents=True)
        for number in range(50):
            (app / f"module{number}.py").write_text(f"VALUE = {number + step}\n" * 100)
        layout.add_image(tag, [*layers, layout.add_layer(_tar(scratch / "app"))])
    _run("skopeo", "copy", f"oci:{example.layout}:base", f"oci-archive:{example.archive}:base:1")
    _run("umoci", "unpack", "--image", f"{example.layout}:base", scratch / "bundle")
    _run("tar", "-C", scratch / "bundle/rootfs", "--numeric-owner", "--sort=name",
         "--xattrs", "-cf", example.merged, ".")  # fmt: skip
    files = sum(1 for _ in (scratch / "bundle/rootfs").rglob("*"))
    size = sum(
        path.lstat().st_size
        for path in (scratch / "bundle/rootfs").rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    if size < LEAST_BYTES or files < LEAST_FILES:
        raise SystemExit(f"the image is too small: {size} bytes, {files} files")
    facts.write_text(
        json.dumps(
            {
                "layers": len(layers),
                "compressed": sum(layer["size"] for layer in layers),
                "bytes": size,
                "files": files,
            }
        )
    )


class _Layout:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._diff_ids: dict[str, str] = {}
        self._manifests: list[dict[str, Any]] = []
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add_layer(self, tar: Path) -> dict[str, Any]:
        packed = tar.with_suffix(".gz")
        with tar.open("rb") as source, gzip.GzipFile(packed, "wb", 6, mtime=0) as target:
            shutil.copyfileobj(source, target, 1 << 20)
        digest = _digest(packed)
        self._diff_ids[digest] = _digest(tar)
        size = packed.stat().st_size
        tar.unlink()
        packed.rename(self._root / "blobs/sha256" / digest[7:])
        return {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": digest,
            "size": size,
        }

    def add_image(self, tag: str, layers: Sequence[dict[str, Any]]) -> None:
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/bash"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [self._diff_ids[layer["digest"]] for layer in layers],
            },
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self._add_json(config, "application/vnd.oci.image.config.v1+json"),
            "layers": list(layers),
        }
        entry = self._add_json(manifest, manifest["mediaType"])
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
        self._manifests.append(entry)
        (self._root / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "manifests": self._manifests})
        )

    def _add_json(self, document: dict[str, Any], media_type: Any) -> dict[str, Any]:
        content = json.dumps(document).encode()
        digest = hashlib.sha256(content).hexdigest()
        (self._root / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _unpack_debian(packages: Sequence[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as downloads:
        _run("apt-get", "download", "-q", *packages, directory=Path(downloads))
        for package in sorted(Path(downloads).glob("*.deb")):
            _run("dpkg-deb", "-x", package, target)


def _tar(tree: Path) -> Path:
    target = tree.with_suffix(".tar")
    _run("tar", "-C", tree, "--numeric-owner", "--owner=0", "--group=0", "--sort=name",
         "-cf", target, ".")  # fmt: skip
    shutil.rmtree(tree)
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _run(*words: str | Path, directory: Path | None = None) -> None:
    done = subprocess.run([str(word) for word in words], cwd=directory, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{words[0]} failed: {done.stderr.decode(errors='replace')}")
