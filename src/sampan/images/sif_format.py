"""SIF, the Singularity Image Format 1: structures and numbers (sylabs/sif, pkg/sif). Pure.

A header of 128 bytes, a table of 48 descriptors at 4096, then the objects; all little-endian.
This module and ``sif.py`` are on the path of every container start and import next to nothing.
"""

import struct
from typing import NamedTuple

HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
DESCRIPTOR = struct.Struct("<iBIIIqqqqqqq128s384s")
PARTITION_EXTRA = struct.Struct("<ii3s")

LAUNCH = b"#!/usr/bin/env run-singularity\n"
MAGIC = b"SIF_MAGIC\0"
VERSION = b"01\0"
DESCRIPTORS = 48
DESCRIPTORS_AT = 4096
DATA_AT = DESCRIPTORS_AT + DESCRIPTORS * DESCRIPTOR.size

DATA_DEFINITION = 0x4001
DATA_PARTITION = 0x4004
DATA_SIGNATURE = 0x4005
DATA_JSON = 0x4006
FILE_SYSTEM_SQUASHFS = 1
PRIMARY_SYSTEM = 2
GROUP_BITS = 0xF0000000
"""What marks the number of a group, in a descriptor's group and in a link; alone: no group."""
GROUP = GROUP_BITS | 1
"""Default object group 1."""
PARTITION_ALIGNMENT = 4096
EXTRA_BYTES = 384

ARCHITECTURES = {
    "386": b"01\0", "amd64": b"02\0", "arm": b"03\0", "arm64": b"04\0", "ppc64": b"05\0",
    "ppc64le": b"06\0", "mips": b"07\0", "mipsle": b"08\0", "mips64": b"09\0",
    "mips64le": b"10\0", "s390x": b"11\0", "riscv64": b"12\0", "loong64": b"13\0",
}  # fmt: skip
UNKNOWN_ARCHITECTURE = b"00\0"


class SifHeader(NamedTuple):
    """The global header.

    Attributes:
        launch, version, architecture: as they stand in the file, NULs included.
        identity: 16 bytes of a UUID.
        created, modified: seconds since the epoch.
        free, total: descriptors.
        table_at, table_size, data_at, data_size: bytes.
    """

    launch: bytes
    magic: bytes
    version: bytes
    architecture: bytes
    identity: bytes
    created: int
    modified: int
    free: int
    total: int
    table_at: int
    table_size: int
    data_at: int
    data_size: int


class SifObject(NamedTuple):
    """One used descriptor.

    Attributes:
        kind: one of the DATA_ numbers.
        identity: the object's number, from 1.
        offset, size: where it lies in the file.
        name: may be empty.
        file_system, partition: of a partition, else 0.
        group: with GROUP_BITS.
        link: an object's number, or a group's with GROUP_BITS; 0 = none.
        created, modified: seconds since the epoch.
        extra: what belongs to the kind alone, ``EXTRA_BYTES`` when it was read.
        slot: place in the table, from 0.
        raw: the descriptor as it stands in the file; empty when it was not read.
    """

    kind: int
    identity: int
    offset: int
    size: int
    name: str
    file_system: int = 0
    partition: int = 0
    group: int = GROUP
    link: int = 0
    created: int = 0
    modified: int = 0
    extra: bytes = b""
    slot: int = 0
    raw: bytes = b""

    @property
    def group_number(self) -> int:
        """The group without the bits that mark it; 0 = none."""
        return self.group & ~GROUP_BITS & 0xFFFFFFFF

    @property
    def linked_group(self) -> int:
        """The group that it links to; 0 = none."""
        if self.link & GROUP_BITS != GROUP_BITS:
            return 0
        return self.link & ~GROUP_BITS & 0xFFFFFFFF


def encode_descriptor(item: SifObject, stored: int, architecture: bytes) -> bytes:
    """One descriptor.

    Args:
        item: what it describes; ``slot`` and ``raw`` are not looked at.
        stored: bytes of the object with the alignment before it.
        architecture: code of a partition's architecture.
    """
    extra = item.extra
    if item.kind == DATA_PARTITION:
        extra = PARTITION_EXTRA.pack(item.file_system, item.partition, architecture)
    return DESCRIPTOR.pack(
        item.kind, 1, item.identity, item.group, item.link, item.offset, item.size, stored,
        item.created, item.modified, 0, 0, item.name.encode(), extra,
    )  # fmt: skip


def decode_descriptor(data: bytes, slot: int = 0) -> SifObject | None:
    """The object of one descriptor, or None when it is not in use."""
    fields = DESCRIPTOR.unpack(data)
    kind, used, identity, group, link, offset, size = fields[:7]
    if not used:
        return None
    file_system = partition = 0
    if kind == DATA_PARTITION:
        file_system, partition, _ = PARTITION_EXTRA.unpack_from(fields[13])
    name = fields[12].split(b"\0", 1)[0].decode("utf-8", "replace")
    return SifObject(
        kind, identity, offset, size, name, file_system, partition, group, link,
        fields[8], fields[9], fields[13], slot, data,
    )  # fmt: skip
