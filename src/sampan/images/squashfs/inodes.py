"""The inode and directory tables: every node of the tree, encoded.

Inodes are written children first, since a directory's listing refers to its children's inodes and
its own inode to its listing. Files of one directory lie together, then the directory itself.
"""

import struct
from array import array
from collections.abc import Sequence

from sampan.images.limits import printable
from sampan.images.squashfs import layout
from sampan.images.squashfs.blocks import StoredContents
from sampan.images.squashfs.listings import ListingWriter
from sampan.images.squashfs.metadata import Compress, MetadataWriter
from sampan.images.squashfs.xattrs import XattrTable
from sampan.images.tree import Directory, Node
from sampan.model.layer import EntryKind

_DIRECTORY = int(EntryKind.DIRECTORY)
_FILE = int(EntryKind.FILE)
_SYMLINK = int(EntryKind.SYMLINK)
_FIFO = int(EntryKind.FIFO)
_SECOND = 1_000_000_000
_BASIC_LISTING = 0xFFFF
_U32 = 0xFFFFFFFF


class IdTable:
    """User and group ids; inodes hold 16-bit numbers into it."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self._numbers: dict[int, int] = {}

    def number(self, identity: int) -> int:
        """The number of ``identity``, given at its first use.

        Raises:
            SquashfsLimitError: more than 65,535 different ids.
        """
        number = self._numbers.get(identity)
        if number is None:
            number = len(self.records)
            if number >= layout.MAX_IDS:
                raise layout.SquashfsLimitError(
                    f"the image has more than {layout.MAX_IDS} different user and group ids",
                    evidence="squashfs counts them in 16 bits",
                    remedy="build the image with fewer owners",
                )
            self._numbers[identity] = number
            self.records.append(layout.U32.pack(identity))
        return number


class InodeWriter:
    """Encodes all inodes of a numbered tree.

    Attributes:
        inodes, listings: the finished tables.
        ids, xattrs: filled while writing.
        root: reference of the root's inode, as the superblock holds it.
    """

    def __init__(self, compress: Compress, stored: StoredContents) -> None:
        self.ids = IdTable()
        self.xattrs = XattrTable(compress)
        self.root = 0
        self._stored = stored
        self._inodes = MetadataWriter(compress)
        self._listings = ListingWriter(MetadataWriter(compress))

    def write_tree(self, directories: Sequence[Directory]) -> None:
        """Write every inode.

        Args:
            directories: of ``number_inodes``; the last one is the root.

        Raises:
            SquashfsLimitError: a name, link target, device number or the number of ids is beyond
                what squashfs holds.
        """
        blocks = array("Q", [0]) * (directories[-1].number + 1)
        offsets = array("h", [-1]) * (directories[-1].number + 1)
        inodes = self._inodes
        for directory in directories:
            children = directory.children
            for node in children.values():
                number = node.number
                if offsets[number] < 0:
                    blocks[number] = inodes.block
                    offsets[number] = inodes.offset
                    inodes.write(self._encode(node))
            listing = self._listings.write(children, blocks, offsets)
            number = directory.number
            blocks[number] = inodes.block
            offsets[number] = inodes.offset
            assert directory.parent is not None
            # The root's parent is an inode number that nothing has, as mksquashfs writes it.
            parent = number + 1 if directory is directories[-1] else directory.parent.number
            xattr = self._xattr(directory)
            if listing.waypoints or listing.size > _BASIC_LISTING or xattr != layout.NO_XATTR:
                inodes.write(
                    self._head(directory, _DIRECTORY + layout.EXTENDED)
                    + layout.DIRECTORY_EXTENDED.pack(
                        directory.links,
                        listing.size,
                        listing.block,
                        parent,
                        len(listing.waypoints),
                        listing.offset,
                        xattr,
                    )
                    + b"".join(listing.waypoints)
                )
            else:
                inodes.write(
                    self._head(directory, _DIRECTORY)
                    + layout.DIRECTORY.pack(
                        listing.block, directory.links, listing.size, listing.offset, parent
                    )
                )
        root = directories[-1].number
        self.root = blocks[root] << 16 | offsets[root]

    def finish(self) -> tuple[bytes, bytes]:
        """The inode table and the directory table."""
        return self._inodes.finish(), self._listings.finish()

    def _head(self, node: Node, kind: int) -> bytes:
        table, place, ids = node.table, node.place, self.ids
        return layout.INODE.pack(
            kind,
            # Linux has no other mode for links; what a tar says of it was never in force.
            0o777 if table.kinds[place] == _SYMLINK else table.modes[place],
            ids.number(table.uids[place]),
            ids.number(table.gids[place]),
            _time(table.mtimes[place]),
            node.number,
        )

    def _xattr(self, node: Node) -> int:
        if not node.table.xattr_numbers[node.place]:
            return layout.NO_XATTR
        return self.xattrs.number(node.table.xattrs(node.place))

    def _encode(self, node: Node) -> bytes:
        """The inode of anything but a directory."""
        kind = node.kind
        xattr = self._xattr(node)
        if kind == _FILE:
            return self._encode_file(node, xattr)
        extended = xattr != layout.NO_XATTR
        tail = layout.U32.pack(xattr) if extended else b""
        written_kind = kind + layout.EXTENDED if extended else kind
        if kind == _SYMLINK:
            link = node.link
            if len(link) > layout.MAX_SYMLINK:
                raise _limit(node, f"a link target of {len(link)} bytes", layout.MAX_SYMLINK)
            head = self._head(node, written_kind)
            return head + layout.SYMLINK.pack(node.links, len(link)) + link + tail
        head = self._head(node, written_kind)
        if kind == _FIFO:
            return head + layout.U32.pack(node.links) + tail
        major, minor = node.table.devices.get(node.place, (0, 0))
        if not (0 <= major <= layout.MAX_MAJOR and 0 <= minor <= layout.MAX_MINOR):
            raise _limit(node, f"device number {major}:{minor}", layout.MAX_MINOR)
        device = (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12
        return head + layout.DEVICE.pack(node.links, device) + tail

    def _encode_file(self, node: Node, xattr: int) -> bytes:
        table, place, ids = node.table, node.place, self.ids
        size, start, blocks, holes, fragment, fragment_offset = self._stored[
            node.layer, table.contents[place]
        ]
        if (
            node.links == 1
            and start <= _U32
            and size <= _U32
            and not holes
            and xattr == layout.NO_XATTR
        ):
            fixed = layout.FILE.pack(
                _FILE,
                table.modes[place],
                ids.number(table.uids[place]),
                ids.number(table.gids[place]),
                _time(table.mtimes[place]),
                node.number,
                start,
                fragment,
                fragment_offset,
                size,
            )
        else:
            fixed = layout.FILE_EXTENDED.pack(
                _FILE + layout.EXTENDED,
                table.modes[place],
                ids.number(table.uids[place]),
                ids.number(table.gids[place]),
                _time(table.mtimes[place]),
                node.number,
                start,
                size,
                holes,
                node.links,
                fragment,
                fragment_offset,
                xattr,
            )
        return fixed + struct.pack(f"<{len(blocks)}I", *blocks) if blocks else fixed


def _time(nanoseconds: int) -> int:
    """Seconds as squashfs holds them: unsigned 32 bits, what lies outside at the nearer end."""
    return min(max(nanoseconds // _SECOND, 0), layout.MAX_TIME)


def _limit(node: Node, what: str, allowed: int) -> layout.SquashfsLimitError:
    return layout.SquashfsLimitError(
        f"the image holds {what}, more than squashfs can store",
        evidence=f"path '{printable(node.table.path(node.place))}'; the highest value is {allowed}",
        remedy="remove the path from the image",
    )
