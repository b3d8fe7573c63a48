"""The directory table: names of each directory, and the index that makes big ones quick.

A listing is a series of runs; each run has a header and up to 256 entries whose inodes lie in the
same metadata block and near each other in number. Names are sorted as bytes. The index (kept in
the directory's extended inode) names the first entry of a run in each metadata block that the
listing enters, so that a look-up reads one block.
"""

from array import array
from typing import NamedTuple

from sampan.images.limits import printable
from sampan.images.squashfs import layout
from sampan.images.squashfs.metadata import MetadataWriter
from sampan.images.tree import Node

_FARTHEST = 32767
_IMPLIED = 3
"""The kernel counts ``.`` and ``..`` as three bytes of every listing."""
_MAX_INDEX = 65535


class Listing(NamedTuple):
    """Where a directory's names are.

    Attributes:
        block, offset: reference into the directory table.
        size: bytes, with the three for ``.`` and ``..``.
        waypoints: encoded entries of the directory index.
    """

    block: int
    offset: int
    size: int
    waypoints: list[bytes]


class ListingWriter:
    """Writes listings one behind the other."""

    def __init__(self, table: MetadataWriter) -> None:
        self._table = table

    def finish(self) -> bytes:
        """The directory table."""
        return self._table.finish()

    def write(
        self, children: dict[bytes, Node], blocks: "array[int]", offsets: "array[int]"
    ) -> Listing:
        """Write one listing.

        Args:
            children: sorted by name.
            blocks: where the metadata block of each inode begins, by inode number.
            offsets: where the inode begins in its block, likewise.

        Raises:
            SquashfsLimitError: a name is too long.
        """
        table = self._table
        start_block = indexed_block = table.block
        start_offset = table.offset
        size = 0
        waypoints: list[bytes] = []
        run: list[bytes] = []
        run_name = b""
        run_block = run_number = -1
        pack = layout.LISTING_ENTRY.pack

        def end_run() -> None:
            nonlocal size, indexed_block
            if table.block != indexed_block and len(waypoints) < _MAX_INDEX:
                indexed_block = table.block
                waypoints.append(
                    layout.DIRECTORY_INDEX.pack(size, table.block, len(run_name) - 1) + run_name
                )
            data = layout.LISTING_HEADER.pack(len(run) - 1, run_block, run_number) + b"".join(run)
            table.write(data)
            size += len(data)

        for name, node in children.items():
            number = node.number
            block = blocks[number]
            distance = number - run_number
            if (
                block != run_block
                or len(run) == layout.DIRECTORY_RUN
                or not -_FARTHEST <= distance <= _FARTHEST
            ):
                if run:
                    end_run()
                    run = []
                run_name, run_block, run_number, distance = name, block, number, 0
            if len(name) > layout.MAX_NAME:
                raise layout.SquashfsLimitError(
                    f"the image holds a file name of {len(name)} bytes",
                    evidence=f"path '{printable(node.table.path(node.place))}'; "
                    f"squashfs stores {layout.MAX_NAME} bytes",
                    remedy="remove the path from the image",
                )
            run.append(pack(offsets[number], distance, node.kind, len(name) - 1) + name)
        if run:
            end_run()
        return Listing(start_block, start_offset, size + _IMPLIED, waypoints)
