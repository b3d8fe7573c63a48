"""Archives (uncompressed tar) read as ranges: nothing is unpacked to disk.

Only the headers of members are read; ``tarfile`` reads them, since these are archives of a hundred
members, not layers. A compressed archive has no ranges: it is inflated once into a file of the
store's, deleted at the end.
"""

import contextlib
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from sampan.images.inflate import open_inflated
from sampan.images.limits import DEFAULT_LIMITS
from sampan.images.sources.layer import unreadable
from sampan.images.sources.oci_layout import FileRange
from sampan.kernel.atomic import temporary_beside
from sampan.model.source import SourceError

MAXIMUM_MEMBERS = 100_000
_LONGEST_CHAIN = 8


class ArchiveFiles:
    """The regular files of a tar archive by name; links inside it are followed inside it."""

    def __init__(self, path: str, description: str) -> None:
        self.description = description
        self._path = path
        self._files: dict[str, FileRange] = {}
        self._links: dict[str, str] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                for number, member in enumerate(archive):
                    self._note(member, number)
        except OSError as error:
            raise unreadable(path, error) from error
        except tarfile.TarError as error:
            raise SourceError(
                f"{description} is not a whole tar archive",
                evidence=str(error),
                remedy="export the image again",
            ) from error

    def find(self, name: str) -> FileRange | None:
        """See oci_layout.Files."""
        for _ in range(_LONGEST_CHAIN):
            if name not in self._links:
                break
            name = self._links[name]
        return self._files.get(name)

    def _note(self, member: tarfile.TarInfo, number: int) -> None:
        if number >= MAXIMUM_MEMBERS:
            raise SourceError(
                f"{self.description} is no image archive",
                evidence=f"it has more than {MAXIMUM_MEMBERS} members",
                remedy=f"a root file system? sampan import rootfs:{self.description} NAME",
            )
        name = posixpath.normpath(member.name)
        self._files.pop(name, None)
        self._links.pop(name, None)
        if member.issym():
            # docker save writes a layer that occurs twice once, and a link to it.
            self._links[name] = posixpath.normpath(
                posixpath.join(posixpath.dirname(name), member.linkname)
            )
        elif member.islnk():
            self._links[name] = posixpath.normpath(member.linkname)
        elif member.isreg() and not member.issparse():
            if member.offset_data + member.size > os.path.getsize(self._path):
                raise SourceError(
                    f"{self.description} is cut short",
                    evidence=f"its member {name} reaches beyond its end",
                    remedy="copy or export it again",
                )
            self._files[name] = FileRange(self._path, member.offset_data, member.size)


@contextlib.contextmanager
def seekable_archive(path: str, spool: Path) -> Iterator[str]:
    """A path at which the archive lies uncompressed; ``-`` is standard input.

    Args:
        path: the user's.
        spool: a directory for the inflated copy of a compressed or piped archive, the store's.

    Raises:
        SourceError: the archive cannot be read.
        OSError: the spool cannot be written.
    """
    if path != "-" and os.path.isfile(path) and not is_compressed(path):
        yield path
        return
    copy = temporary_beside(spool / "archive.tar")
    try:
        with open_input(path) as stream, open(copy, "xb") as target:
            inflated = open_inflated(stream, layer=path, limits=DEFAULT_LIMITS)
            shutil.copyfileobj(cast("BinaryIO", inflated), target, 1 << 20)
        yield str(copy)
    finally:
        copy.unlink(missing_ok=True)


def is_compressed(path: str) -> bool:
    """Whether a regular file begins as gzip, zstd, xz or bzip2 do.

    Raises:
        SourceError: it cannot be read.
    """
    with open_input(path) as stream:
        magic = stream.read(6)
    return magic.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"))


def open_input(path: str) -> BinaryIO:
    """A file of the user's, unbuffered; ``-`` is standard input.

    Raises:
        SourceError: it cannot be opened.
    """
    try:
        if path == "-":
            return open(0, "rb", buffering=0, closefd=False)
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from error
