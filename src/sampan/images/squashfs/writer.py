"""One squashfs image from a merged tree and the packs behind it: order of the parts, superblock.

The order is the kernel's: superblock, data, inode table, directory table, fragment table, id table,
attribute tables, without gaps (Linux checks the sizes against the distances). There is no export
table: file handles would serve only NFS export and overlay's index, which our mounts do not use.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sampan.images.squashfs import layout
from sampan.images.squashfs.blocks import (
    Contents,
    LayerData,
    copy_contents,
    place_contents,
    write_fully,
)
from sampan.images.squashfs.inodes import InodeWriter
from sampan.images.squashfs.metadata import make_compressor, write_lookup_table
from sampan.images.tree import Directory, number_inodes
from sampan.model.layer import BLOCK_SIZE, EntryKind

_FILE = int(EntryKind.FILE)
_ALIGNMENT = 4096


def write_squashfs(
    root: Directory,
    layers: Sequence[LayerData],
    compression: str,
    target: int,
    base: int,
) -> int:
    """Write the image of ``root`` into an open file.

    Args:
        root: the merged tree; its nodes are numbered here.
        layers: lowest first, as merged; all packed with ``compression``.
        compression: ``zstd`` or ``gzip``.
        target: descriptor of the file.
        base: position of the image in the file.

    Returns:
        bytes of the image, padded to 4 KiB.

    Raises:
        SquashfsLimitError: the tree does not fit the format.
        InternalError: a pack is damaged.
        OSError: reading or writing failed.
    """
    contents = place_contents(layers, _live_contents(root), layout.SUPERBLOCK_SIZE)
    with ThreadPoolExecutor(1) as beside:
        copied = beside.submit(_copy_to_disk, contents, layers, target, base)
        end = _write_tables(number_inodes(root), contents, compression, target, base)
        copied.result()
    return end


def _live_contents(root: Directory) -> Iterator[tuple[int, int]]:
    """Layer and number of every file's content, before anything else is known of the tree."""
    directories = [root]
    for directory in directories:  # grows while it is walked: no recursion
        for node in directory.children.values():
            if isinstance(node, Directory):
                directories.append(node)
            elif node.kind == _FILE:
                yield node.layer, node.table.contents[node.place]


def _copy_to_disk(contents: Contents, layers: Sequence[LayerData], target: int, base: int) -> None:
    """Copy the contents and let the disk write them while the tables are made."""
    copy_contents(contents.copies, layers, target, base)
    os.fdatasync(target)


def _write_tables(
    directories: Sequence[Directory], contents: Contents, compression: str, target: int, base: int
) -> int:
    """Write everything but the contents; return the bytes of the image."""
    compress = make_compressor(compression)
    writer = InodeWriter(compress, contents.stored)
    writer.write_tree(directories)
    inodes, listings = writer.finish()
    inodes_at = contents.end
    listings_at = inodes_at + len(inodes)
    end = listings_at + len(listings)
    tables = [inodes, listings]

    fragments_at = layout.NO_TABLE
    if contents.fragments:
        table, fragments_at = write_lookup_table(contents.fragments, compress, end)
        tables.append(table)
        end += len(table)
    table, ids_at = write_lookup_table(writer.ids.records, compress, end)
    tables.append(table)
    end += len(table)
    table, xattrs_at = writer.xattrs.finish(end)
    tables.append(table)
    end += len(table)

    padding = -end % _ALIGNMENT
    tables.append(bytes(padding))
    write_fully(target, b"".join(tables), base + inodes_at)
    flags = layout.FLAG_DUPLICATES_REMOVED
    if xattrs_at is None:
        flags |= layout.FLAG_NO_XATTRS
    superblock = layout.SUPERBLOCK.pack(
        layout.MAGIC,
        directories[-1].number,
        0,
        BLOCK_SIZE,
        len(contents.fragments),
        layout.COMPRESSION_IDS[compression],
        layout.BLOCK_LOG,
        flags,
        len(writer.ids.records),
        4,
        0,
        writer.root,
        end,
        ids_at,
        layout.NO_TABLE if xattrs_at is None else xattrs_at,
        inodes_at,
        listings_at,
        fragments_at,
        layout.NO_TABLE,
    )
    write_fully(target, superblock, base)
    return end + padding
