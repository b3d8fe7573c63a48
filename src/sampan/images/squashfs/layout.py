"""Numbers and structures of squashfs 4.0 (Linux: fs/squashfs/squashfs_fs.h). No logic.

Everything is little-endian and unpadded.
"""

import struct
from typing import ClassVar

from sampan.errors import SampanError

MAGIC = 0x73717368
BLOCK_LOG = 17
METADATA_SIZE = 8192
METADATA_UNCOMPRESSED = 0x8000

COMPRESSION_IDS = {"gzip": 1, "zstd": 6}

FLAG_NO_XATTRS = 0x0200
FLAG_DUPLICATES_REMOVED = 0x0040

NO_TABLE = 0xFFFFFFFFFFFFFFFF
NO_XATTR = 0xFFFFFFFF

EXTENDED = 7
"""Added to a basic inode type gives the extended one. Basic types are EntryKind's numbers."""

MAX_IDS = 65535
"""The superblock counts user and group ids in 16 bits."""
MAX_NAME = 256
MAX_SYMLINK = 4095
"""Linux refuses longer targets: PATH_MAX with its final NUL."""
MAX_MAJOR = 0xFFF
MAX_MINOR = 0xFFFFF
MAX_TIME = 0xFFFFFFFF

DIRECTORY_RUN = 256
"""Entries under one header of a directory listing."""

SUPERBLOCK = struct.Struct("<IIIIIHHHHHHQQQQQQQQ")
INODE = struct.Struct("<HHHHII")  # type, mode, uid, gid, mtime, number: begins every inode
DIRECTORY = struct.Struct("<IIHHI")
DIRECTORY_EXTENDED = struct.Struct("<IIIIHHI")
DIRECTORY_INDEX = struct.Struct("<III")
FILE = struct.Struct("<HHHHIIIIII")
FILE_EXTENDED = struct.Struct("<HHHHIIQQQIIII")
SYMLINK = struct.Struct("<II")
DEVICE = struct.Struct("<II")
LISTING_HEADER = struct.Struct("<III")
LISTING_ENTRY = struct.Struct("<HhHH")
FRAGMENT = struct.Struct("<QII")
XATTR_ID = struct.Struct("<QII")
XATTR_TABLE = struct.Struct("<QII")
U16 = struct.Struct("<H")
U32 = struct.Struct("<I")
XATTR_KEY = struct.Struct("<HH")

SUPERBLOCK_SIZE = 96


class SquashfsLimitError(SampanError):
    """The tree asks for something that squashfs cannot hold."""

    id: ClassVar[str] = "squashfs-limit"
