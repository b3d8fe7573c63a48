"""The extended attribute tables of squashfs. Inodes with equal sets share one.

Linux's squashfs knows the name spaces ``user.``, ``trusted.`` and ``security.``. Others (POSIX ACLs
in ``system.``) are left out, as mksquashfs does. So are overlayfs' own attributes: the image is
mounted as an overlay's lower layer, where they would be orders to the kernel, not data.
"""

from sampan.images.squashfs.layout import NO_XATTR, U32, XATTR_ID, XATTR_KEY, XATTR_TABLE
from sampan.images.squashfs.metadata import Compress, MetadataWriter, write_lookup_table

_PREFIXES = ((b"user.", 0), (b"trusted.", 1), (b"security.", 2))
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")

Xattrs = tuple[tuple[bytes, bytes], ...]


def storable_xattrs(xattrs: Xattrs) -> list[tuple[int, bytes, bytes]]:
    """(name space number, rest of the name, value) of those that squashfs keeps."""
    kept = []
    for name, value in xattrs:
        if name.startswith(_OVERLAY):
            continue
        for prefix, number in _PREFIXES:
            if name.startswith(prefix) and len(name) > len(prefix):
                kept.append((number, name[len(prefix) :], value))
                break
    return kept


class XattrTable:
    """Collects sets of attributes and gives each its number."""

    def __init__(self, compress: Compress) -> None:
        self._compress = compress
        self._pairs = MetadataWriter(compress)
        self._ids: list[bytes] = []
        self._known: dict[Xattrs, int] = {(): NO_XATTR}

    def number(self, xattrs: Xattrs) -> int:
        """The number an inode writes for this set; NO_XATTR when nothing of it is stored."""
        number = self._known.get(xattrs)
        if number is not None:
            return number
        kept = storable_xattrs(xattrs)
        if kept:
            number = len(self._ids)
            encoded = b"".join(
                XATTR_KEY.pack(space, len(name)) + name + U32.pack(len(value)) + value
                for space, name, value in kept
            )
            reference = self._pairs.block << 16 | self._pairs.offset
            self._ids.append(XATTR_ID.pack(reference, len(kept), len(encoded)))
            self._pairs.write(encoded)
        else:
            number = NO_XATTR
        self._known[xattrs] = number
        return number

    def finish(self, position: int) -> tuple[bytes, int | None]:
        """The tables as they lie at ``position``, and where the superblock shall point, if ever."""
        if not self._ids:
            return b"", None
        pairs = self._pairs.finish()
        blocks, pointers_at = write_lookup_table(self._ids, self._compress, position + len(pairs))
        split = pointers_at - position - len(pairs)
        head = XATTR_TABLE.pack(position, len(self._ids), 0)
        return pairs + blocks[:split] + head + blocks[split:], pointers_at
