"""The files of an export, from a directory, a file or standard input, in the order of its list."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from sampan.images.export_format import (
    LIST_NAME,
    MOST_LIST_BYTES,
    TAR_BLOCK,
    CarriedFile,
    ExportError,
    ExportList,
    load_list,
    tar_header,
    tar_padding,
)

_PIECE = 1 << 20


class ExportFiles:
    """The files of an export in the order of its list; each is opened or skipped once."""

    def __init__(self, source: str, export: ExportList) -> None:
        """``source`` is what messages call it."""
        self.source = source
        self.export = export

    def open(self, file: CarriedFile) -> BinaryIO:
        """The next file's bytes.

        Raises:
            ExportError: it is not there.
        """
        return open(Path(self.source, file.path), "rb", buffering=0)

    def skip(self, file: CarriedFile) -> None:
        """Pass the next file over."""


class _Tar(ExportFiles):
    """A tar, read from front to back, once."""

    def __init__(self, source: str, stream: BinaryIO) -> None:
        self._stream = stream
        front = self._take(TAR_BLOCK, source)
        size = int(front[124:135], 8) if front[124:135].isdigit() else -1
        if not 0 <= size <= MOST_LIST_BYTES or front != tar_header(LIST_NAME, size):
            raise ExportError(
                f"{source} is no export of a store",
                evidence=f"it does not begin with {LIST_NAME}",
                remedy="archives of docker and podman: sampan load",
            )
        content = self._take(size + tar_padding(size), source)[:size]
        super().__init__(source, load_list(content, source))

    def open(self, file: CarriedFile) -> BinaryIO:
        if self._take(TAR_BLOCK, self.source) != tar_header(file.path, file.size):
            raise ExportError(
                f"{self.source} is damaged",
                evidence=f"{file.path} is not where the list says",
                remedy="carry it over again, or export again",
            )
        return cast("BinaryIO", _Member(self._stream, file.size))

    def skip(self, file: CarriedFile) -> None:
        member = self.open(file)
        if self._stream.seekable():
            self._stream.seek(file.size + tar_padding(file.size), os.SEEK_CUR)
        else:
            while member.read(_PIECE):
                pass

    def _take(self, size: int, source: str) -> bytes:
        content = self._stream.read(size)
        if len(content) < size:
            raise export_was_cut(source)
        return content


class _Member(io.RawIOBase):
    """A file inside the tar with its padding, which is read at its end."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._padding = tar_padding(size)

    def read(self, size: int = -1, /) -> bytes:
        content = self._stream.read(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(content)
        if not self._left and self._padding:
            self._stream.read(self._padding)
            self._padding = 0
        return content


@contextlib.contextmanager
def open_export(source: str) -> Iterator[ExportFiles]:
    """Read the list of an export and be ready for its files.

    Raises:
        ExportError: there is no complete export.
    """
    if source == "-":
        yield _Tar("standard input", sys.stdin.buffer)
        return
    try:
        if os.path.isdir(source):
            with open(Path(source, LIST_NAME), "rb") as stream:
                content = stream.read(MOST_LIST_BYTES)
            yield ExportFiles(source, load_list(content, source))
            return
        with open(source, "rb") as stream:
            yield _Tar(source, stream)
    except FileNotFoundError as error:
        raise ExportError(
            f"{source} is no complete export",
            evidence=f"{error.filename}: {error.strerror}",
            remedy="sampan store export writes one; when it was cut, type it again",
        ) from error


def export_was_cut(source: str) -> ExportError:
    """What is said of an export that ends too early."""
    return ExportError(
        f"{source} was cut",
        evidence="it ends inside a file",
        remedy="carry it over again; what has come whole is kept",
    )
