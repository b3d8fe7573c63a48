"""OCI layouts as the target of a copy (``model.transfer``): a directory that grows, or a new archive."""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sampan.errors import SampanError, UsageError
from sampan.images.archive_writer import ArchiveWriter
from sampan.images.documents import read_json
from sampan.kernel.atomic import atomic_file, write_atomic
from sampan.kernel.locks import locked
from sampan.model.manifest import Descriptor
from sampan.model.manifest_render import dump_json, render_descriptor, render_index
from sampan.model.transfer import Hear, ImageEnd, TransferEvent

LAYOUT_FILE = dump_json({"imageLayoutVersion": "1.0.0"})
REF_NAME = "org.opencontainers.image.ref.name"
_PIECE_BYTES = 1 << 20


class LayoutError(SampanError):
    """A layout or archive cannot be written."""

    id = "layout"


class VerifiedReader(io.RawIOBase):
    """A blob's bytes, counted, hashed and told; wrong ones are refused at their end."""

    def __init__(self, stream: BinaryIO, descriptor: Descriptor, hear: Hear, label: str) -> None:
        super().__init__()
        self._stream = stream
        self._descriptor = descriptor
        self._hear = hear
        self._label = label
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; ``b""`` at the end of the right ones.

        Raises:
            LayoutError: they are not those of the descriptor.
        """
        piece = self._stream.read(size)
        self._hash.update(piece)
        self._size += len(piece)
        wanted = self._descriptor
        if piece:
            self._hear(TransferEvent("sending", self._label, self._size, wanted.size))
        elif f"sha256:{self._hash.hexdigest()}" != wanted.digest:
            raise LayoutError(
                f"blob {wanted.digest[:19]} is not what its digest says",
                evidence=f"{self._size:,} bytes, sha256:{self._hash.hexdigest()}",
                remedy="copy again; if it stays, the source is damaged",
            )
        return piece


class DirectoryTarget:
    """A layout in a directory."""

    parallel = 16

    def __init__(self, root: Path, tag: str) -> None:
        self._root = root
        self._tag = tag
        (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        if not (root / "oci-layout").exists():
            write_atomic(root / "oci-layout", LAYOUT_FILE)

    def has_top(self, descriptor: Descriptor) -> bool:
        """See ImageTarget."""
        known = [entry for entry in self._entries() if _name(entry) == self._tag]
        return [entry.get("digest") for entry in known] == [descriptor.digest]

    def has_document(self, descriptor: Descriptor) -> bool:
        """See ImageTarget: documents are written after all that they name."""
        return self._blob(descriptor).exists()

    def put_blob(self, descriptor: Descriptor, source: ImageEnd, hear: Hear, label: str) -> int:
        """See ImageTarget."""
        path = self._blob(descriptor)
        if path.exists() and path.stat().st_size == descriptor.size:
            hear(TransferEvent("present", label))
            return 0
        with source.open_blob(descriptor) as stream, atomic_file(path) as file:
            reader = VerifiedReader(stream, descriptor, hear, label)
            while piece := reader.read(_PIECE_BYTES):
                file.write(piece)
        hear(TransferEvent("sent", label, descriptor.size, descriptor.size))
        return descriptor.size

    def put_document(self, descriptor: Descriptor, content: bytes, *, is_top: bool) -> None:
        """See ImageTarget."""
        write_atomic(self._blob(descriptor), content)
        if not is_top:
            return
        notes = {REF_NAME: self._tag} if self._tag else {}
        entry = render_descriptor(descriptor._replace(annotations=notes))
        with locked(str(self._root / ".sampan.lock")):
            kept = [one for one in self._entries() if _name(one) != self._tag]
            write_atomic(self._root / "index.json", render_index([*kept, entry]))

    def _entries(self) -> list[dict[str, Any]]:
        document = read_json(str(self._root / "index.json")) or {}
        entries = document.get("manifests", [])
        return [entry for entry in entries if isinstance(entry, dict)]

    def _blob(self, descriptor: Descriptor) -> Path:
        return self._root / "blobs" / descriptor.digest.replace(":", "/")


class LayoutArchive:
    """A layout in a new archive; blobs one after the other, index.json at the end."""

    parallel = 1

    def __init__(self, stream: BinaryIO, tag: str = "") -> None:
        self._writer = ArchiveWriter(stream)
        self._tag = tag
        self._there: set[str] = set()
        self._entries: list[dict[str, Any]] = []
        self._writer.add_bytes("oci-layout", LAYOUT_FILE)

    def has_top(self, descriptor: Descriptor) -> bool:
        """See ImageTarget: the archive is new."""
        return descriptor.digest in self._there

    def has_document(self, descriptor: Descriptor) -> bool:
        """See ImageTarget."""
        return descriptor.digest in self._there

    def put_blob(self, descriptor: Descriptor, source: ImageEnd, hear: Hear, label: str) -> int:
        """See ImageTarget."""
        if descriptor.digest in self._there:
            hear(TransferEvent("present", label))
            return 0
        with source.open_blob(descriptor) as stream:
            self.add_blob(descriptor, VerifiedReader(stream, descriptor, hear, label))
        hear(TransferEvent("sent", label, descriptor.size, descriptor.size))
        return descriptor.size

    def put_document(self, descriptor: Descriptor, content: bytes, *, is_top: bool) -> None:
        """See ImageTarget."""
        self.add_blob(descriptor, io.BytesIO(content))
        if is_top:
            self.name(descriptor, {REF_NAME: self._tag} if self._tag else {})

    def add_blob(self, descriptor: Descriptor, content: Any) -> None:
        """Write a blob unless it is there."""
        if descriptor.digest not in self._there:
            self._there.add(descriptor.digest)
            name = f"blobs/{descriptor.digest.replace(':', '/')}"
            self._writer.add(name, descriptor.size, content)

    def name(self, descriptor: Descriptor, annotations: Mapping[str, str]) -> None:
        """Put a document into the index."""
        self._entries.append(render_descriptor(descriptor._replace(annotations=annotations)))

    def finish(self) -> None:
        """Write the index and the end."""
        self._writer.add_bytes("index.json", render_index(self._entries))
        self._writer.finish()


@contextlib.contextmanager
def open_layout_target(kind: str, text: str) -> Iterator[DirectoryTarget | LayoutArchive]:
    """A layout to write to.

    Args:
        kind: ``oci`` or ``oci-archive``.
        text: ``PATH[:TAG]``; an archive must not exist.

    Raises:
        LayoutError: it cannot be written.
        UsageError: the archive is there already.
    """
    path, _, tag = text.partition(":")
    try:
        if kind == "oci":
            yield DirectoryTarget(Path(path), tag)
            return
        if os.path.lexists(path):
            raise UsageError(
                f"{path} is there already",
                evidence="an archive cannot be added to",
                remedy="choose another name, delete it, or use a layout's directory: oci:DIRECTORY",
            )
        with atomic_file(Path(path)) as stream:
            archive = LayoutArchive(stream, tag)
            yield archive
            archive.finish()
    except OSError as error:
        if error.errno is None:
            raise
        raise LayoutError(
            f"cannot write {path}",
            evidence=f"{error.filename or path}: {error.strerror}",
            remedy="check the path, and the room on its disk",
        ) from error


def _name(entry: dict[str, Any]) -> str:
    notes = entry.get("annotations")
    return str(notes.get(REF_NAME, "")) if isinstance(notes, dict) else ""
