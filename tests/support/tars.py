"""Tar bytes written by hand, so that tests can say what no tar program would write."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from sampan.images.layer_tar import LayerTar
from sampan.images.pack import pack_layer
from sampan.images.pack_file import PackData
from sampan.images.readahead import SLAB_BYTES
from sampan.images.tar import TarReader
from sampan.model.layer import Entry, PackIndex

END = bytes(1024)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def base256(value: int, width: int) -> bytes:
    if value < 0:
        return value.to_bytes(width, "big", signed=True)
    return bytes([0x80]) + value.to_bytes(width - 1, "big")


def header(
    name: bytes,
    *,
    kind: bytes = b"0",
    size: int | bytes = 0,
    mode: int = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    major: int = 0,
    minor: int = 0,
    prefix: bytes = b"",
    patches: dict[int, bytes] | None = None,
) -> bytes:
    def field(value: int | bytes, width: int) -> bytes:
        return value if isinstance(value, bytes) else octal(value, width)

    block = bytearray(512)
    for at, width, value in (
        (0, 100, name),
        (100, 8, octal(mode, 8)),
        (108, 8, field(uid, 8)),
        (116, 8, field(gid, 8)),
        (124, 12, field(size, 12)),
        (136, 12, field(mtime, 12)),
        (148, 8, b" " * 8),
        (156, 1, kind),
        (157, 100, link),
        (257, 8, magic),
        (329, 8, octal(major, 8)),
        (337, 8, octal(minor, 8)),
        (345, 155, prefix),
    ):
        assert len(value) <= width, value
        block[at : at + len(value)] = value
    for at, value in (patches or {}).items():
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def member(name: bytes, content: bytes = b"", **fields: Any) -> bytes:
    fields.setdefault("size", len(content))
    return header(name, **fields) + padded(content)


def pax(records: Iterable[tuple[bytes, bytes]], *, kind: bytes = b"x") -> bytes:
    data = b""
    for key, value in records:
        length = len(key) + len(value) + 3
        while len(b"%d" % length) + len(key) + len(value) + 3 != length:
            length = len(b"%d" % length) + len(key) + len(value) + 3
        data += b"%d %s=%s\n" % (length, key, value)
    return member(b"PaxHeaders/x", data, kind=kind)


def gnu_long(kind: bytes, text: bytes) -> bytes:
    return member(b"././@LongLink", text + b"\0", kind=kind, magic=b"ustar  \0")


def python_tar(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


class Packed:
    """A pack on disk, with its contents at hand; its tar was made again from it and is the same."""

    def __init__(self, directory: Path, tar: bytes, **options: Any) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data_path = directory / "layer.pack"
        self.index_path = directory / "layer.index"
        options.setdefault("layer", "sha256:test")
        options.setdefault("expected_digest", None)
        options.setdefault("expected_diff_id", None)
        self.index: PackIndex = pack_layer(
            io.BytesIO(tar),
            self.data_path,
            self.index_path,
            headers_path=self.index_path.with_suffix(".headers"),
            **options,
        )
        # Whatever a test packs: reading to the end compares with the diffID.
        with LayerTar(self.index_path) as again:
            for _ in iter(lambda: again.read(1 << 20), b""):
                pass

    def tar_again(self) -> bytes:
        with LayerTar(self.index_path) as stream:
            return stream.readall()

    @property
    def entries(self) -> dict[bytes, Entry]:
        return {entry.path: entry for entry in self.index.entries}

    def read(self, path: bytes) -> bytes:
        content = self.index.contents[self.entries[path].content]
        with PackData(self.index, self.data_path) as data:
            return data.read_content(content)


class _StreamSlabs:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read_slab(self) -> bytes:
        return self._stream.read(SLAB_BYTES)


def read_tar(stream: BinaryIO, *, layer: str) -> TarReader:
    """Open an uncompressed tar without the thread that reads ahead."""
    return TarReader(_StreamSlabs(stream), layer=layer)
