"""Reading SIF files, and the front of those that are written.

``locate_system_partition`` is called at every container start. What changes a file that is there is in
``sif_edit``, what its numbers mean in ``sif_words``.
"""

import os
from typing import NamedTuple

from sampan.errors import SampanError
from sampan.images import sif_format as form

_MOST_DESCRIPTORS = 65536
_SQUASHFS_MAGIC = b"hsqs"


class SifError(SampanError):
    """A file is no SIF, a damaged one, or one that we cannot run."""

    id = "sif"


class SifFile(NamedTuple):
    """What a SIF file holds; ``architecture`` is Go's word, empty when unknown."""

    path: str
    architecture: str
    objects: tuple[form.SifObject, ...]
    header: form.SifHeader


class SifLayout(NamedTuple):
    """Where the parts of a SIF that is being written lie.

    Attributes:
        objects: data objects before the system partition, with their bytes.
        partition_at: offset of the system partition, a multiple of 4096.
    """

    objects: tuple[tuple[form.SifObject, bytes], ...]
    partition_at: int


def open_sif(path: "str | os.PathLike[str]") -> SifFile:
    """Read header and descriptors.

    Raises:
        SifError: ``path`` is no SIF file, or a truncated one.
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, form.HEADER.size, 0)
        if len(head) < form.HEADER.size or head[32:42] != form.MAGIC:
            seen = "it is empty" if not head else f"it begins with {head[:8].hex(' ')}"
            raise _broken(name, "this is no SIF file", f"no SIF_MAGIC at byte 32; {seen}")
        header = form.SifHeader(*form.HEADER.unpack(head))
        if header.version != form.VERSION:
            raise _broken(
                name, "unknown SIF version", f"version field {header.version!r}, known is 01"
            )
        total, table_at = header.total, header.table_at
        needed = total * form.DESCRIPTOR.size
        if not (
            0 < total <= _MOST_DESCRIPTORS
            and header.table_size >= needed
            and form.HEADER.size <= table_at < 2**62
        ):
            raise _broken(name, "damaged SIF file", f"{total} descriptors at {table_at}")
        table = os.pread(descriptor, needed, table_at)
        if len(table) < needed:
            raise _broken(name, "truncated SIF file", f"its {size} bytes end inside the table")
    finally:
        os.close(descriptor)
    step = form.DESCRIPTOR.size
    found = [
        form.decode_descriptor(table[slot * step : slot * step + step], slot)
        for slot in range(total)
    ]
    objects = tuple(item for item in found if item is not None)
    if len({item.identity for item in objects}) != len(objects):
        raise _broken(name, "damaged SIF file", "two of its objects have the same number")
    if sum(item.partition == form.PRIMARY_SYSTEM for item in objects) > 1:
        # Who checks and who runs it could take different ones for the root file system.
        raise _broken(name, "damaged SIF file", "it has two root file systems")
    for item in objects:
        if item.offset < 0 or item.size < 0 or item.offset + item.size > size:
            raise _broken(
                name,
                "truncated SIF file",
                f"object {item.identity} ends at {item.offset + item.size}, the file at {size}",
            )
    return SifFile(name, architecture_word(header.architecture), objects, header)


def architecture_word(code: bytes) -> str:
    """Go's word for an architecture's code; empty when it is unknown."""
    return next((word for word, known in form.ARCHITECTURES.items() if known == code), "")


def locate_system_partition(path: "str | os.PathLike[str]") -> tuple[int, int]:
    """Offset and length in bytes of the root file system inside a SIF file.

    Raises:
        SifError: no SIF, truncated, or its system partition is not squashfs.
        OSError: it cannot be read.
    """
    sif = open_sif(path)
    for item in sif.objects:
        if item.kind == form.DATA_PARTITION and item.partition == form.PRIMARY_SYSTEM:
            if item.file_system != form.FILE_SYSTEM_SQUASHFS:
                raise _broken(
                    sif.path,
                    "the root file system in this SIF is not squashfs",
                    f"file system number {item.file_system} (5 and 6 are encrypted)",
                )
            descriptor = os.open(sif.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                magic = os.pread(descriptor, len(_SQUASHFS_MAGIC), item.offset)
            finally:
                os.close(descriptor)
            if magic != _SQUASHFS_MAGIC:
                raise _broken(
                    sif.path, "damaged SIF file", f"no squashfs magic at offset {item.offset}"
                )
            return item.offset, item.size
    raise _broken(
        sif.path,
        "this SIF has no root file system",
        "no primary system partition among its objects",
    )


def plan_sif(definition: bytes, oci_config: bytes) -> SifLayout:
    """Lay out the objects that come before the system partition.

    Args:
        definition: text of the definition file object.
        oci_config: the ``config`` member of the OCI image configuration, as JSON.
    """
    objects: list[tuple[form.SifObject, bytes]] = []
    position = form.DATA_AT
    for kind, name, data in (
        (form.DATA_DEFINITION, "", definition),
        (form.DATA_JSON, "oci-config.json", oci_config),
    ):
        item = form.SifObject(kind, len(objects) + 1, position, len(data), name)
        objects.append((item, data))
        position += len(data)
    return SifLayout(tuple(objects), -(-position // 4096) * 4096)


def render_sif_front(
    layout: SifLayout, partition_size: int, architecture: str, identity: bytes
) -> bytes:
    """Everything before the system partition: header, descriptors, objects, padding.

    Args:
        layout: of ``plan_sif``.
        partition_size: bytes of the squashfs image.
        architecture: Go's word, e.g. ``amd64``.
        identity: 16 bytes for the header's UUID.
    """
    code = form.ARCHITECTURES.get(architecture, form.UNKNOWN_ARCHITECTURE)
    front = bytearray(layout.partition_at)
    descriptors = []
    end = form.DATA_AT
    for item, data in layout.objects:
        front[item.offset : item.offset + len(data)] = data
        descriptors.append(form.encode_descriptor(item, item.size, code))
        end = item.offset + item.size
    partition = form.SifObject(
        form.DATA_PARTITION, len(descriptors) + 1, layout.partition_at, partition_size, "",
        form.FILE_SYSTEM_SQUASHFS, form.PRIMARY_SYSTEM,
    )  # fmt: skip
    stored = layout.partition_at - end + partition_size
    descriptors.append(form.encode_descriptor(partition, stored, code))
    table = b"".join(descriptors)
    front[form.DESCRIPTORS_AT : form.DESCRIPTORS_AT + len(table)] = table
    front[: form.HEADER.size] = form.HEADER.pack(
        form.LAUNCH, form.MAGIC, form.VERSION, code, identity, 0, 0,
        form.DESCRIPTORS - len(descriptors), form.DESCRIPTORS, form.DESCRIPTORS_AT,
        form.DESCRIPTORS * form.DESCRIPTOR.size, form.DATA_AT,
        layout.partition_at + partition_size - form.DATA_AT,
    )  # fmt: skip
    return bytes(front)


def _broken(path: str, cause: str, evidence: str) -> SifError:
    return SifError(
        cause,
        evidence=f"{path}: {evidence}",
        remedy="fetch the file again, or have its maker make it anew",
    )
