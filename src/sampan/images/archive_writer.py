"""Image archives as plain tars, written front to back; same members, same bytes.

Headers are GNU's, which say sizes beyond 8 GiB; times and owners are 0.
"""

import io
import tarfile
from typing import BinaryIO

from sampan.errors import InternalError

_PIECE_BYTES = 1 << 20
_BLOCK = 512
_END = bytes(2 * _BLOCK)


class ArchiveWriter:
    """Members one after the other; a pipe will do."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._directories: set[str] = set()

    def add(self, name: str, size: int, content: BinaryIO) -> None:
        """A regular file.

        Args:
            name: its path; directories above it are written when they are new.
            size: bytes that ``content`` gives.
            content: read to its end.

        Raises:
            InternalError: it gives another number of bytes.
            OSError: the archive cannot be written.
        """
        self._add_parents(name)
        self._write_header(name, size, tarfile.REGTYPE, 0o644)
        done = 0
        while piece := content.read(_PIECE_BYTES):
            done += len(piece)
            if done > size:
                break
            self._stream.write(piece)
        if done != size:
            raise InternalError(
                f"{name} of an archive has another size than was said",
                evidence=f"{done} bytes instead of {size}",
            )
        self._stream.write(bytes(-size % _BLOCK))

    def add_bytes(self, name: str, content: bytes) -> None:
        """As ``add``, for what is in memory."""
        self.add(name, len(content), io.BytesIO(content))

    def finish(self) -> None:
        """Write the end marker."""
        self._stream.write(_END)
        self._stream.flush()

    def _add_parents(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            directory = "/".join(parts[:depth])
            if directory not in self._directories:
                self._directories.add(directory)
                self._write_header(f"{directory}/", 0, tarfile.DIRTYPE, 0o755)

    def _write_header(self, name: str, size: int, kind: bytes, mode: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.mode = size, kind, mode
        self._stream.write(info.tobuf(tarfile.GNU_FORMAT))
