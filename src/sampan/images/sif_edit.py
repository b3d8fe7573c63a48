"""Adding objects to a SIF file that is there, and taking them away, without writing it anew.

The order of the writes keeps the file readable at each moment: the object's bytes behind all others,
then its descriptor, then the header, which only counts. Partitions begin at multiples of 4096, all else
lies byte by byte (sylabs/sif, pkg/sif). Signatures of a group break when the group changes; that is
what they are for.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sampan.images import sif_format as form
from sampan.images.sif import SifError, SifFile, open_sif
from sampan.images.sif_parts import locate_object
from sampan.images.squashfs.blocks import write_fully
from sampan.kernel.locks import locked

_NAME_BYTES = 128
_PIECE_BYTES = 1 << 20
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class NewObject(NamedTuple):
    """What is to be added.

    Attributes:
        kind: one of the format's numbers (``sif_words.KINDS``).
        name: at most 127 bytes.
        group: number of its group; 0 = none.
        link: as of ``SifObject``: an object's number, or a group's with ``GROUP_BITS``.
        extra: what belongs to the kind.
        alignment: its offset is a multiple of this; 0 = 4096 for partitions, 1 for the rest.
    """

    kind: int
    name: str = ""
    group: int = 0
    link: int = 0
    extra: bytes = b""
    alignment: int = 0


def add_object(path: str, new: NewObject, pieces: Iterable[bytes], *, now: int) -> int:
    """Append an object.

    Args:
        path: of the SIF file.
        new: what it is.
        pieces: its bytes.
        now: seconds since the epoch, for its dates and the file's.

    Returns:
        Its number.

    Raises:
        SifError: no descriptor is free, there is a root file system already, or the name is too long.
        OSError: the file cannot be written; it is then as it was.
    """
    name = new.name.encode()
    if len(name) >= _NAME_BYTES:
        raise SifError(
            "the object's name is too long",
            evidence=f"{len(name)} bytes, the format has room for {_NAME_BYTES - 1}",
            remedy="give it a shorter one: --filename NAME",
        )
    with _held(path) as (descriptor, sif):
        slot = _free_slot(sif)
        file_system, partition, code = _partition_of(sif, new)
        _check_link(sif, new.link)
        end = _end(sif)
        alignment = new.alignment or (
            form.PARTITION_ALIGNMENT if new.kind == form.DATA_PARTITION else 1
        )
        offset = -(-end // alignment) * alignment
        size = os.fstat(descriptor).st_size
        try:
            os.ftruncate(descriptor, max(offset, end))
            place = offset
            for piece in pieces:
                write_fully(descriptor, piece, place)
                place += len(piece)
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, size)
            raise
        item = form.SifObject(
            new.kind, slot + 1, offset, place - offset, new.name, file_system, partition,
            form.GROUP_BITS | new.group, new.link, now, now, new.extra,
        )  # fmt: skip
        _write_slot(descriptor, sif, slot, form.encode_descriptor(item, place - end, code))
        header = sif.header._replace(
            free=max(sif.header.free - 1, 0), modified=now, data_size=place - sif.header.data_at
        )
        if partition == form.PRIMARY_SYSTEM:
            header = header._replace(architecture=code)
        _write_header(descriptor, header)
    return item.identity


def add_file(path: str, new: NewObject, source: str, *, now: int) -> int:
    """Append an object whose bytes are a file's; see ``add_object``.

    Raises:
        SifError: as there; or the file is the SIF itself.
        OSError: one of the two cannot be opened, read or written.
    """
    with open(source, "rb") as file:
        if os.path.samefile(source, path):
            raise SifError(
                "a SIF file cannot hold itself",
                evidence=f"{source} and {path} are one file",
                remedy="add a copy of it",
            )
        return add_object(path, new, iter(lambda: file.read(_PIECE_BYTES), b""), now=now)


def delete_object(path: str, identity: int, *, now: int) -> None:
    """Take an object away; the file becomes shorter when it was the last one.

    Raises:
        SifError: there is no such object, or another one links to it.
        OSError: the file cannot be written.
    """
    with _held(path) as (descriptor, sif):
        item = locate_object(sif, identity)
        for other in sif.objects:
            if not other.linked_group and other.link == identity:
                raise SifError(
                    f"object {identity} is needed by another one",
                    evidence=f"object {other.identity} links to it",
                    remedy=f"sampan sif del {other.identity} {path}",
                )
        _write_slot(descriptor, sif, item.slot, bytes(form.DESCRIPTOR.size))
        os.fsync(descriptor)
        left = sif._replace(objects=tuple(one for one in sif.objects if one is not item))
        header = sif.header._replace(
            free=sif.header.free + 1, modified=now, data_size=_end(left) - sif.header.data_at
        )
        if item.partition == form.PRIMARY_SYSTEM:
            header = header._replace(architecture=form.UNKNOWN_ARCHITECTURE)
        _write_header(descriptor, header)
        os.ftruncate(descriptor, _end(left))


@contextlib.contextmanager
def _held(path: str) -> Iterator[tuple[int, SifFile]]:
    """The file opened for writing, locked where the file system can, and what is in it."""
    real = os.path.realpath(path)
    if os.path.exists(f"{real.removesuffix('.sif')}.record.json"):
        raise SifError(
            "an image of the store is not changed",
            evidence=f"{real} is what its name in the store stands for",
            remedy=f"cp {real} COPY.sif, and change the copy",
        )
    open_sif(real)
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(locked(real))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            descriptor = os.open(real, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
        # Only now: whoever held the lock may have changed it.
        sif = open_sif(real)
        low = min((item.offset for item in sif.objects), default=sif.header.data_at)
        table_end = sif.header.table_at + sif.header.total * form.DESCRIPTOR.size
        if low < table_end or sif.header.data_at < table_end:
            raise SifError(
                "damaged SIF file",
                evidence=f"{real}: an object lies where the table of objects does",
                remedy="have its maker make it anew",
            )
        yield descriptor, sif
        os.fsync(descriptor)


def _free_slot(sif: SifFile) -> int:
    """A slot of the table; its number is the object's, less one."""
    taken = {item.slot for item in sif.objects}
    numbers = {item.identity - 1 for item in sif.objects}
    for slot in range(sif.header.total):
        if slot not in taken and slot not in numbers:
            return slot
    raise SifError(
        "this SIF has no room for another object",
        evidence=f"{sif.path}: all {sif.header.total} descriptors are in use",
        remedy="sampan sif del ID FILE makes room",
    )


def _partition_of(sif: SifFile, new: NewObject) -> tuple[int, int, bytes]:
    """File system, partition type and architecture of what is added."""
    if new.kind != form.DATA_PARTITION:
        return 0, 0, form.UNKNOWN_ARCHITECTURE
    file_system, partition, code = form.PARTITION_EXTRA.unpack_from(new.extra)
    if partition == form.PRIMARY_SYSTEM:
        for item in sif.objects:
            if item.partition == form.PRIMARY_SYSTEM:
                raise SifError(
                    "this SIF has a root file system already",
                    evidence=f"{sif.path}: object {item.identity}",
                    remedy="add it as an overlay: --parttype 4",
                )
    return file_system, partition, code


def _check_link(sif: SifFile, link: int) -> None:
    if link and link & form.GROUP_BITS != form.GROUP_BITS:
        locate_object(sif, link)


def _end(sif: SifFile) -> int:
    """Where the last object ends."""
    ends = [item.offset + item.size for item in sif.objects]
    return max([sif.header.data_at, *ends])


def _write_slot(descriptor: int, sif: SifFile, slot: int, data: bytes) -> None:
    write_fully(descriptor, data, sif.header.table_at + slot * form.DESCRIPTOR.size)


def _write_header(descriptor: int, header: form.SifHeader) -> None:
    write_fully(descriptor, form.HEADER.pack(*header), 0)
