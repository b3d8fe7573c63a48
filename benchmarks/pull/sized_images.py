"""Images of any size, of real files, made quickly.

The files are those of the example image, over and over, each time with other first bytes, so that no
two are equal; ISA-L compresses. Each image has as many layers as any other, so only size differs.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from isal import igzip_threaded

LAYERS = 5
_UNITS = {"M": 10**6, "G": 10**9}


class SizedImage(NamedTuple):
    """An OCI layout with the tag ``base``, and how many bytes of files are in it."""

    layout: Path
    bytes: int
    compressed: int
    files: int


def parse_size(text: str) -> int:
    """Bytes of ``100M``, ``3G``.

    Raises:
        ValueError: it is neither.
    """
    return int(float(text[:-1]) * _UNITS[text[-1:]]) if text[-1:] in _UNITS else int(text)


def make_sized_image(merged: Path, layout: Path, size: int) -> SizedImage:
    """Write an image of about that many bytes, from the example image's merged tar."""
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    files = _endless_files(merged)
    layers, diff_ids, count, total = [], [], 0, 0
    for number in range(LAYERS):
        target = _Blob(layout)
        plain = hashlib.sha256()
        done = 0
        with (
            igzip_threaded.open(target, "wb", compresslevel=1, threads=1) as packed,
            tarfile.open(mode="w|", fileobj=_Tee(packed, plain), format=tarfile.GNU_FORMAT) as tar,
        ):
            while done < size // LAYERS:
                member, content = next(files)
                member.name = f"layer{number}/{count // 20_000}/{member.name}"
                tar.addfile(member, io.BytesIO(content))
                done += len(content)
                count += 1
        total += done
        diff_ids.append(f"sha256:{plain.hexdigest()}")
        layers.append(target.finish("application/vnd.oci.image.layer.v1.tar+gzip"))
    config = _document(
        layout,
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        },
        "application/vnd.oci.image.config.v1+json",
    )
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
    entry = _document(layout, manifest, kind)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "base"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return SizedImage(layout, total, sum(one["size"] for one in layers), count)


def _endless_files(merged: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(merged, "r:") as tar, merged.open("rb") as source:
        members = [one for one in tar if one.isreg()]
        number = 0
        while True:
            for one in members:
                content = os.pread(source.fileno(), one.size, one.offset_data)
                stamp = number.to_bytes(8, "little")
                number += 1
                member = tarfile.TarInfo(one.name.removeprefix("./"))
                member.size, member.mode = one.size, one.mode
                # Every mebibyte is stamped: pieces of large files are compared too.
                parts = (content[at : at + (1 << 20)] for at in range(0, one.size, 1 << 20))
                yield member, b"".join(stamp[: len(part)] + part[8:] for part in parts)


class _Tee(io.RawIOBase):
    def __init__(self, target: Any, digest: Any) -> None:
        self._target = target
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return int(self._target.write(data))


class _Blob(io.RawIOBase):
    """A file that is named by its digest in the end."""

    def __init__(self, layout: Path) -> None:
        self._directory = layout / "blobs/sha256"
        self._path = self._directory / "new"
        self._file = self._path.open("wb")
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def finish(self, media_type: str) -> dict[str, Any]:
        """The blob's descriptor."""
        self._file.close()
        name = self._digest.hexdigest()
        size = self._path.stat().st_size
        self._path.rename(self._directory / name)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": size}


def _document(layout: Path, document: dict[str, Any], media_type: str) -> dict[str, Any]:
    blob = _Blob(layout)
    blob.write(json.dumps(document).encode())
    return blob.finish(media_type)
