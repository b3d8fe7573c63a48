"""A squashfs image as the tar of its tree, made while it is read: owners, attributes, devices and all.

So an image that somebody else packed goes the way of every layer, without root and without lying
unpacked on a disk. POSIX ustar headers, pax records (POSIX.1-2017, pax) for what ustar cannot say.
"""

import io
import os
import tarfile
from collections.abc import Generator, Iterator
from typing import BinaryIO, NamedTuple, cast

from sampan.errors import SampanError
from sampan.images.limits import DEFAULT_LIMITS, printable
from sampan.images.squashfs import layout
from sampan.images.squashfs.decompression import SquashfsError
from sampan.images.squashfs.reader import Inode, SquashfsReader
from sampan.model.source import SourceError

_BLOCK = 512
_TYPES = {
    1: tarfile.DIRTYPE,
    2: tarfile.REGTYPE,
    3: tarfile.SYMTYPE,
    4: tarfile.BLKTYPE,
    5: tarfile.CHRTYPE,
    6: tarfile.FIFOTYPE,
}
_DIRECTORY, _FILE, _SOCKET = 1, 2, 7
_LONGEST_NAME = 100
_LARGEST_OCTAL_7 = 0o7777777
_LARGEST_OCTAL_11 = 0o77777777777


class SquashfsLayer(NamedTuple):
    """A squashfs image as a layer; digest and diffID are known when it has been read.

    Attributes:
        path: of the file that holds it.
        offset, length: where in the file.
        without: paths below the root that are left out, with all that is below them.
    """

    label: str
    path: str
    offset: int
    length: int
    without: tuple[bytes, ...] = ()
    digest: str = ""
    diff_id: str = ""
    size: int = 0

    @property
    def is_portable(self) -> bool:
        """Any process can open the path."""
        return True

    def open(self) -> BinaryIO:
        """See SourceLayer."""
        return cast("BinaryIO", SquashfsTar(self.path, self.offset, self.length, self.without))


class SquashfsTar(io.RawIOBase):
    """The tar of a squashfs image, read once from front to back."""

    def __init__(self, path: str, offset: int, length: int, without: tuple[bytes, ...]) -> None:
        super().__init__()
        self._path = path
        self._without = frozenset(without)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(
                f"cannot read {path}",
                evidence=error.strerror or str(error),
                remedy="check the path",
            ) from error
        self._length = length
        self._offset = offset
        self._pieces = self._make_pieces()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` with what comes next.

        Raises:
            SourceError: the image is damaged, or larger than an image of its size may be.
        """
        while not self._rest:
            try:
                piece = next(self._pieces, None)
            except SourceError:
                raise
            except (SampanError, OSError) as error:
                raise _unreadable(self._path, error) from error
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.closed:
            self._pieces.close()
            os.close(self._descriptor)
        super().close()

    def _make_pieces(self) -> Generator[bytes, None, None]:
        reader = SquashfsReader(self._descriptor, self._offset, self._length)
        first_names: dict[int, bytes] = {}
        most = max(DEFAULT_LIMITS.ratio_floor_bytes, self._length * DEFAULT_LIMITS.max_ratio)
        total = 0
        for path, inode in walk(reader, self._without):
            if inode.kind == _SOCKET:
                # A socket is its server's; a tar has no word for it.
                continue
            name = path + b"/" if inode.kind == _DIRECTORY else path
            known = first_names.get(inode.number) if inode.links > 1 else None
            if known is not None and inode.kind != _DIRECTORY:
                yield _header(reader, name, inode, tarfile.LNKTYPE, 0, known)
                continue
            first_names[inode.number] = path
            size = inode.size if inode.kind == _FILE else 0
            total += size
            if total > most:
                raise SourceError(
                    "the squashfs image is larger inside than an image of its size may be",
                    evidence=f"{self._path}: {total} bytes in {self._length}, at "
                    f"'{printable(path)}'",
                    remedy="a trusted image can be unpacked: unsquashfs, then sampan import DIRECTORY",
                )
            yield _header(reader, name, inode, _TYPES[inode.kind], size, inode.link)
            if size:
                yield from reader.pieces(inode)
                yield bytes(-size % _BLOCK)
        yield bytes(2 * _BLOCK)


def walk(reader: SquashfsReader, without: frozenset[bytes]) -> Iterator[tuple[bytes, Inode]]:
    """Each path with its inode, parents first; the root is ``.``.

    Raises:
        SquashfsError: the image is damaged, holds itself, or names what no file can be named.
    """
    root = reader.root()
    yield b".", root
    seen = 1
    entered = set[int]()
    left = [(b"", root)]
    while left:
        above, directory = left.pop()
        below = []
        for name, reference in reader.entries(directory):
            path = above + name
            seen += 1
            if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
                raise _hostile(path, "a name that no file can have")
            if seen > DEFAULT_LIMITS.max_entries or len(path) > DEFAULT_LIMITS.max_path_bytes:
                raise _hostile(path, f"more than {seen - 1} paths, or one of {len(path)} bytes")
            if path in without:
                continue
            inode = reader.inode(reference)
            if inode.kind == _DIRECTORY:
                if reference in entered:
                    raise _hostile(path, "a directory in two places")
                entered.add(reference)
                below.append((path + b"/", inode))
            yield path, inode
        left += reversed(below)


def _header(
    reader: SquashfsReader, name: bytes, inode: Inode, kind: bytes, size: int, link: bytes
) -> bytes:
    """A header, with a pax header before it where ustar does not suffice."""
    user, group = (reader.owner(number) for number in inode.owners)
    records: list[tuple[bytes, bytes]] = []
    if kind != tarfile.LNKTYPE:
        records += [(b"SCHILY.xattr." + key, value) for key, value in reader.xattrs(inode.xattr)]
    if len(name) > _LONGEST_NAME:
        records.append((b"path", name))
    if len(link) > _LONGEST_NAME:
        records.append((b"linkpath", link))
    numbers = ((b"size", size, _LARGEST_OCTAL_11), (b"uid", user, _LARGEST_OCTAL_7),
               (b"gid", group, _LARGEST_OCTAL_7))  # fmt: skip
    records += [(key, b"%d" % number) for key, number, most in numbers if number > most]
    info = tarfile.TarInfo(os.fsdecode(name[:_LONGEST_NAME]))
    info.type, info.mode, info.mtime = kind, inode.mode, inode.mtime
    info.size = min(size, _LARGEST_OCTAL_11)
    info.uid, info.gid = min(user, _LARGEST_OCTAL_7), min(group, _LARGEST_OCTAL_7)
    info.linkname = os.fsdecode(link[:_LONGEST_NAME])
    info.devmajor = inode.device >> 8 & layout.MAX_MAJOR
    info.devminor = inode.device & 0xFF | inode.device >> 12 & ~0xFF & layout.MAX_MINOR
    header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    if not records:
        return header
    body = b"".join(_record(key, value) for key, value in records)
    extended = tarfile.TarInfo("pax")
    extended.type, extended.size = tarfile.XHDTYPE, len(body)
    return (
        extended.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
        + body
        + bytes(-len(body) % _BLOCK)
        + header
    )


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record, whose length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def _hostile(path: bytes, what: str) -> SquashfsError:
    return SquashfsError(
        "the squashfs image is refused",
        evidence=f"{what}: '{printable(path[:200])}'",
        remedy="fetch or make the file again",
    )


def _unreadable(path: str, error: Exception) -> SourceError:
    if isinstance(error, SampanError):
        return SourceError(error.cause, evidence=f"{path}: {error.evidence}", remedy=error.remedy)
    return SourceError(f"cannot read {path}", evidence=str(error), remedy="check the disk")
