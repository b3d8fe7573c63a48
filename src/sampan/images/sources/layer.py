"""Layers that lie in files or come through pipes."""

import io
import os
from typing import BinaryIO, NamedTuple, cast

from sampan.model.source import SourceError


class FileLayer(NamedTuple):
    """A layer that is a file, or a range of one (a member of an archive)."""

    label: str
    digest: str
    diff_id: str
    size: int
    path: str
    offset: int = 0

    @property
    def is_portable(self) -> bool:
        """Any process can open the path."""
        return True

    def open(self) -> BinaryIO:
        """See SourceLayer."""
        return cast("BinaryIO", RangeReader(self.path, self.offset, self.size))


class StreamLayer(NamedTuple):
    """A layer that comes through a pipe: standard input, a FIFO."""

    label: str
    stream: BinaryIO
    digest: str = ""
    diff_id: str = ""
    size: int = 0

    @property
    def is_portable(self) -> bool:
        """The stream is this process's."""
        return False

    def open(self) -> BinaryIO:
        """See SourceLayer."""
        return self.stream


class RangeReader(io.RawIOBase):
    """Reads a range of a file through its own descriptor."""

    def __init__(self, path: str, offset: int, size: int) -> None:
        super().__init__()
        self._path = path
        self._offset = offset
        self._left = size
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(path, error) from error

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` as far as the range reaches.

        Raises:
            SourceError: the file is shorter than the range, or cannot be read.
        """
        if self._left <= 0:
            return 0
        try:
            done = os.preadv(self._descriptor, [memoryview(buffer)[: self._left]], self._offset)
        except OSError as error:
            raise unreadable(self._path, error) from error
        if done == 0:
            raise SourceError(
                f"{self._path} is shorter than it must be",
                evidence=f"{self._left} bytes are missing at its end",
                remedy="copy or export it again",
            )
        self._offset += done
        self._left -= done
        return done

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def unreadable(path: str, error: OSError) -> SourceError:
    """The error for a file or directory of the source that the system refuses."""
    return SourceError(
        f"cannot read {path}", evidence=error.strerror or str(error), remedy="check the path"
    )
