"""Part of a directory tree as a tar stream, made while it is read: nothing lies on disk.

POSIX ustar headers, pax records (POSIX.1-2017, pax) for what ustar cannot say, GNU.sparse 1.0 maps
for files with holes. Big files go from the page cache to the reader in one copy.

The tree may be another user's, and still change: a file is opened from the descriptor of its directory,
which was reached name by name without links, so that none leads root out of the tree.
"""

import errno
import io
import os
import struct
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from sampan.images.sources.layer import unreadable
from sampan.model.source import SourceError

_BLOCK = 512
_CHUNK = 1 << 20
_SMALL = 128 << 10
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_SPACES = b" " * 8
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST_OCTAL_7 = 0o7777777
_LARGEST_OCTAL_11 = 0o77777777777


class TreeEntry(NamedTuple):
    """One path of a tree.

    Attributes:
        path: below the root, ``b""`` is the root.
        kind: tar's type flag: 0 file, 1 hard link, 2 symlink, 3 and 4 devices, 5 directory, 6 FIFO.
        size: bytes of a file, else 0.
        mtime: seconds since the epoch.
        link: target of a symlink as written; path of the first name of a hard link.
        has_holes: whether fewer blocks are allocated than the size needs.
    """

    path: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    has_holes: bool


class DirectoryTar(io.RawIOBase):
    """The tar of some entries of a tree, read once from front to back."""

    def __init__(self, root: bytes, entries: Sequence[TreeEntry]) -> None:
        super().__init__()
        self._root = root
        self._entries = entries
        self._pieces = self._make_pieces()
        self._rest = b""
        self._wanted = 0
        self._opened: tuple[bytes, int] | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes; fewer only where a big file's data begins or ends.

        Raises:
            SourceError: a file cannot be read, or changed since the tree was listed.
        """
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_CHUNK), b""))
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        gathered: list[bytes] = []
        total = 0
        while total < size:
            self._wanted = size - total
            piece = next(self._pieces, None)
            if piece is None:
                break
            gathered.append(piece)
            total += len(piece)
            if len(piece) >= _SMALL:
                break
        data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
        if total > size:
            data, self._rest = data[:size], data[size:]
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As ``read``, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close what is open."""
        if not self.closed:
            self._pieces.close()
            self._leave()
        super().close()

    def _make_pieces(self) -> Generator[bytes, None, None]:
        for entry in self._entries:
            if entry.kind != b"0":
                yield self._headers(entry, {}, 0)
            elif entry.has_holes:
                yield from self._sparse_file(entry)
            else:
                yield from self._file(entry)
        yield b"\0" * (2 * _BLOCK)

    def _file(self, entry: TreeEntry) -> Iterator[bytes]:
        path = os.path.join(self._root, entry.path)
        descriptor = self._open(path, entry)
        try:
            header = self._headers(entry, {}, entry.size)
            padding = b"\0" * (-entry.size % _BLOCK)
            if entry.size < _SMALL:
                data = os.read(descriptor, entry.size + 1) if entry.size else b""
                if len(data) != entry.size:
                    raise _changed(path, f"{len(data)} bytes instead of {entry.size}")
                yield header + data + padding
                return
            yield header
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield from self._range(descriptor, path, entry.size)
            if os.read(descriptor, 1):
                raise _changed(path, f"it grew beyond {entry.size} bytes")
            if padding:
                yield padding
        except OSError as error:
            raise unreadable(os.fsdecode(path), error) from error
        finally:
            os.close(descriptor)

    def _sparse_file(self, entry: TreeEntry) -> Iterator[bytes]:
        path = os.path.join(self._root, entry.path)
        descriptor = self._open(path, entry)
        try:
            segments = list(_data_segments(descriptor, entry.size))
            if segments == [(0, entry.size)]:
                yield self._headers(entry, {}, entry.size)
                yield from self._range(descriptor, path, entry.size)
                yield b"\0" * (-entry.size % _BLOCK)
                return
            # The last segment states the size; without it GNU tar forgets a hole at the end.
            if not segments or sum(segments[-1]) != entry.size:
                segments.append((entry.size, 0))
            numbers = [len(segments), *(number for segment in segments for number in segment)]
            table = b"".join(b"%d\n" % number for number in numbers)
            table += b"\0" * (-len(table) % _BLOCK)
            size = len(table) + sum(length for _, length in segments)
            records = {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": entry.path,
                b"GNU.sparse.realsize": b"%d" % entry.size,
            }
            yield self._headers(entry, records, size) + table
            for offset, length in segments:
                os.lseek(descriptor, offset, os.SEEK_SET)
                yield from self._range(descriptor, path, length)
            yield b"\0" * (-size % _BLOCK)
        except OSError as error:
            raise unreadable(os.fsdecode(path), error) from error
        finally:
            os.close(descriptor)

    def _range(self, descriptor: int, path: bytes, length: int) -> Iterator[bytes]:
        while length > 0:
            data = os.read(descriptor, min(length, max(self._wanted, _BLOCK)))
            if not data:
                raise _changed(path, f"it became {length} bytes shorter")
            length -= len(data)
            yield data

    def _headers(self, entry: TreeEntry, records: dict[bytes, bytes], size: int) -> bytes:
        """The entry's header, with a pax header before it where ustar does not suffice."""
        name = entry.path + b"/" if entry.kind == b"5" and entry.path else entry.path or b"./"
        if entry.kind != b"1":
            for key, value in self._xattrs(entry):
                records[b"SCHILY.xattr." + key] = value
        prefix, base = _split(name)
        if base is None:
            records.setdefault(b"path", name)
            prefix, base = b"", name[:100]
        if len(entry.link) > 100:
            records[b"linkpath"] = entry.link
        for key, number, largest in (
            (b"size", size, _LARGEST_OCTAL_11),
            (b"mtime", entry.mtime, _LARGEST_OCTAL_11),
            (b"uid", entry.uid, _LARGEST_OCTAL_7),
            (b"gid", entry.gid, _LARGEST_OCTAL_7),
        ):
            if not 0 <= number <= largest:
                records[key] = b"%d" % number
        header = _ustar(entry, prefix, base, size)
        if not records:
            return header
        body = b"".join(_record(key, value) for key, value in sorted(records.items()))
        extra = TreeEntry(b"", b"x", 0o644, 0, 0, 0, 0, b"", (0, 0), has_holes=False)
        before = _ustar(extra, b"", b"PaxHeaders/" + base[-80:].strip(b"/"), len(body))
        return before + body + b"\0" * (-len(body) % _BLOCK) + header

    def _xattrs(self, entry: TreeEntry) -> Iterator[tuple[bytes, bytes]]:
        path = os.path.join(self._root, entry.path)
        place = path
        if entry.path:
            directory, _, base = entry.path.rpartition(b"/")
            place = b"/proc/self/fd/%d/%s" % (self._enter(directory, path), base)
        try:
            names = os.listxattr(place, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.EPERM):
                return
            raise unreadable(os.fsdecode(path), error) from error
        for name in sorted(names):
            if not _is_kept(name):
                continue
            try:
                yield os.fsencode(name), os.getxattr(place, name, follow_symlinks=False)
            except OSError as error:
                raise unreadable(os.fsdecode(path), error) from error

    def _open(self, path: bytes, entry: TreeEntry) -> int:
        directory, _, name = entry.path.rpartition(b"/")
        parent = self._enter(directory, path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            raise unreadable(os.fsdecode(path), error) from error
        size = os.fstat(descriptor).st_size
        if size != entry.size:
            os.close(descriptor)
            raise _changed(path, f"{size} bytes instead of {entry.size}")
        return descriptor

    def _enter(self, directory: bytes, path: bytes) -> int:
        """The descriptor of a directory of the tree; kept, for its files follow one another."""
        if self._opened is not None and self._opened[0] == directory:
            return self._opened[1]
        self._leave()
        try:
            here = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in directory.split(b"/") if directory else ():
                try:
                    inner = os.open(name, _DIRECTORY, dir_fd=here)
                finally:
                    os.close(here)
                here = inner
        except OSError as error:
            raise unreadable(os.fsdecode(path), error) from error
        self._opened = (directory, here)
        return here

    def _leave(self) -> None:
        if self._opened is not None:
            os.close(self._opened[1])
            self._opened = None


def _is_kept(name: str) -> bool:
    """Labels and access lists are the host's; overlay's own attributes are another mount's."""
    if name.startswith(("user.overlay.", "trusted.overlay.")):
        return False
    return name.startswith(("user.", "trusted.")) or name == "security.capability"


def _data_segments(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        if start >= size:
            break
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, end - start
        at = end
    os.lseek(descriptor, 0, os.SEEK_SET)


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """Prefix and name as ustar has them, or no name when the path does not fit."""
    if len(name) <= 100:
        return b"", name
    at = name.find(b"/", len(name) - 101)
    if 0 < at <= 155 and at < len(name) - 1:
        return name[:at], name[at + 1 :]
    return b"", None


def _ustar(entry: TreeEntry, prefix: bytes, base: bytes, size: int) -> bytes:
    uid, gid, mtime = entry.uid, entry.gid, entry.mtime
    header = _HEADER.pack(
        base,
        b"%07o" % entry.mode,
        b"%07o" % (uid if uid <= _LARGEST_OCTAL_7 else 0),
        b"%07o" % (gid if gid <= _LARGEST_OCTAL_7 else 0),
        b"%011o" % (size if size <= _LARGEST_OCTAL_11 else 0),
        b"%011o" % (mtime if 0 <= mtime <= _LARGEST_OCTAL_11 else 0),
        _SPACES,
        entry.kind,
        entry.link[:100],
        b"ustar\x0000",
        b"",
        b"",
        b"%07o" % entry.device[0],
        b"%07o" % entry.device[1],
        prefix,
    )
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record; its length counts its own digits."""
    length = len(key) + len(value) + 3
    total = length + len(str(length))
    if len(str(total)) != len(str(length)):
        total = length + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _changed(path: bytes, evidence: str) -> SourceError:
    return SourceError(
        f"{os.fsdecode(path)} changed while it was read",
        evidence=evidence,
        remedy="import the tree when nothing writes to it, or import a copy",
    )
