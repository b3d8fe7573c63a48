"""An OCI layout, in a directory or an archive, as the source of a copy (``model.transfer``)."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from sampan.images.sources.archive import ArchiveFiles, seekable_archive
from sampan.images.sources.layer import RangeReader
from sampan.images.sources.oci_layout import (
    DirectoryFiles,
    Files,
    blob_name,
    find_entries,
    read_blob,
)
from sampan.images.sources.opening import split_tag
from sampan.model.manifest import Descriptor, verify_document
from sampan.model.source import SourceError


class LayoutEnd:
    """Reads; see ``model.transfer.ImageEnd``."""

    place = ""

    def __init__(self, files: Files, tag: str) -> None:
        self._files = files
        self._tag = tag

    def find_top(self) -> Descriptor:
        """See ImageEnd."""
        entries = find_entries(self._files, self._tag)
        if len(entries) > 1:
            raise SourceError(
                f"{self._files.description} names {len(entries)} images alike",
                evidence=", ".join(entry.digest[:19] for entry in entries[:5]),
                remedy=f"choose one by its digest, e.g. {entries[0].digest}",
            )
        return entries[0]

    def read_document(self, descriptor: Descriptor) -> bytes:
        """See ImageEnd."""
        content = read_blob(self._files, descriptor)
        verify_document(content, descriptor)
        return content

    def open_blob(self, descriptor: Descriptor) -> BinaryIO:
        """See ImageEnd."""
        found = self._files.find(blob_name(descriptor.digest))
        if found is None or found.size != descriptor.size:
            raise SourceError(
                f"{self._files.description} has no blob {descriptor.digest}",
                evidence="it is missing"
                if found is None
                else f"it has {found.size} bytes, the manifest says {descriptor.size}",
                remedy="copy or export the image again",
            )
        return cast("BinaryIO", RangeReader(found.path, found.offset, found.size))


@contextlib.contextmanager
def open_layout_end(kind: str, text: str) -> Iterator[LayoutEnd]:
    """A layout to read from.

    Args:
        kind: ``oci`` or ``oci-archive``.
        text: ``PATH[:TAG]``; of an archive ``-`` is standard input.

    Raises:
        SourceError: there is none.
    """
    path, tag = split_tag(text)
    if kind == "oci":
        if not os.path.isdir(path):
            raise SourceError(
                f"there is no directory {path}", evidence="oci: takes a layout's directory"
            )
        yield LayoutEnd(DirectoryFiles(path), tag)
        return
    with (
        tempfile.TemporaryDirectory(prefix="sampan-") as spool,
        seekable_archive(path, Path(spool)) as archive,
    ):
        yield LayoutEnd(ArchiveFiles(archive, path), tag)
