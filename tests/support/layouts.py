"""Layouts, archives and layer tars made in Python, as small as a test needs them."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def make_tar(files: Mapping[str, bytes | None]) -> bytes:
    """A tar of regular files, and of directories where the content is None."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def tar_of(directory: Path) -> bytes:
    """A tar of everything below a directory."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(directory, ".")
    return target.getvalue()


def _squeeze(content: bytes) -> bytes:
    """The same gzip of the same tar whenever it is made: gzip's header has a clock in it."""
    return gzip.compress(content, mtime=0)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class LayoutMaker:
    """Writes an OCI image layout piece by piece, so that a test can bend each piece."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.write_index([])

    def blob_path(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "/")

    def add_blob(self, content: bytes, media_type: str, **members: Any) -> dict[str, Any]:
        digest = sha256(content)
        self.blob_path(digest).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content), **members}

    def add_image(
        self,
        layers: Sequence[bytes],
        *,
        architecture: str = "amd64",
        variant: str = "",
        config: Mapping[str, Any] | None = None,
        docker: bool = False,
        diff_ids: Sequence[str] | None = None,
        compress: Any = _squeeze,
        ending: str = "+gzip",
        layer_type: str = "",
        **members: Any,
    ) -> dict[str, Any]:
        """Add an image of uncompressed layer tars; return its manifest's descriptor."""
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {
                "type": "layers",
                "diff_ids": list(diff_ids or [sha256(layer) for layer in layers]),
            },
        }
        if variant:
            document["variant"] = variant
        kind = layer_type or (DOCKER_LAYER if docker else OCI_LAYER + ending)
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": self.add_blob(
                json.dumps(document).encode(), DOCKER_CONFIG if docker else OCI_CONFIG
            ),
            "layers": [self.add_blob(compress(layer), kind) for layer in layers],
        }
        return self.add_document(manifest, manifest["mediaType"], **members)

    def add_document(self, document: Any, media_type: Any, **members: Any) -> dict[str, Any]:
        return self.add_blob(json.dumps(document).encode(), str(media_type), **members)

    def add_list(self, entries: Sequence[Any], *, docker: bool = False) -> dict[str, Any]:
        kind = DOCKER_LIST if docker else OCI_INDEX
        index = {"schemaVersion": 2, "mediaType": kind, "manifests": list(entries)}
        return self.add_document(index, kind)

    def write_index(self, entries: Sequence[Any]) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        (self.root / "index.json").write_text(json.dumps(index))

    def as_archive(self, target: Path) -> Path:
        with tarfile.open(target, "w") as archive:
            for path in sorted(self.root.rglob("*")):
                archive.add(path, str(path.relative_to(self.root)), recursive=False)
        return target


def named(descriptor: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A descriptor with a tag, as an index.json has it."""
    return {**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}}


def on_platform(
    descriptor: Mapping[str, Any], architecture: str, variant: str = "", os: str = "linux"
) -> dict[str, Any]:
    """A descriptor with a platform, as an image index has it."""
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return {**descriptor, "platform": platform}


def write_docker_archive(
    target: Path,
    layers: Sequence[bytes],
    *,
    names: Sequence[str] = ("some/image:1.0",),
    config: Mapping[str, Any] | None = None,
    config_name: str = "",
    repeated_as_link: bool = False,
) -> Path:
    """An archive in the legacy form of docker save."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
    }
    content = json.dumps(document).encode()
    config_file = config_name or f"{sha256(content)[7:]}.json"
    paths = []
    with tarfile.open(target, "w") as archive:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for number, layer in enumerate(layers):
            directory = f"{number:064x}"
            paths.append(f"{directory}/layer.tar")
            if repeated_as_link and layer in layers[:number]:
                link = tarfile.TarInfo(paths[-1])
                link.type = tarfile.SYMTYPE
                link.linkname = f"../{layers.index(layer):064x}/layer.tar"
                archive.addfile(link)
            else:
                add(paths[-1], layer)
        add(config_file, content)
        manifest = [{"Config": config_file, "RepoTags": list(names), "Layers": paths}]
        add("manifest.json", json.dumps(manifest).encode())
    return target
