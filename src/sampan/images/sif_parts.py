"""Single objects of a SIF file: finding, copying and writing them out."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.images import sif_format as form
from sampan.images.sif import SifError, SifFile
from sampan.images.sif_words import FILE_SYSTEMS, KINDS
from sampan.kernel.atomic import atomic_file

MOST_TEXT_BYTES = 64 << 20
"""Largest object that is read into memory: a definition, a configuration, a signature."""

_PIECE_BYTES = 1 << 20
_ENDINGS = {
    0x4001: "def", 0x4002: "env", 0x4003: "labels.json", 0x4005: "signature", 0x4006: "json",
    0x4008: "message", 0x4009: "sbom", 0x400A: "index.json",
}  # fmt: skip
_FILE_SYSTEM_ENDINGS = {1: "squashfs", 2: "ext3", 5: "squashfs.luks", 6: "squashfs.gocryptfs"}


def locate_object(sif: SifFile, identity: int) -> form.SifObject:
    """The object of that number.

    Raises:
        SifError: there is none.
    """
    for item in sif.objects:
        if item.identity == identity:
            return item
    known = ", ".join(str(item.identity) for item in sif.objects) or "none"
    raise SifError(
        f"this SIF has no object {identity}",
        evidence=f"{sif.path} has {known}",
        remedy=f"sampan sif list {sif.path}",
    )


def find_primary(sif: SifFile) -> form.SifObject | None:
    """The partition that holds the root file system."""
    return next(
        (item for item in sif.objects if item.partition == form.PRIMARY_SYSTEM),
        None,
    )


def read_pieces(sif: SifFile, item: form.SifObject) -> Iterator[bytes]:
    """The bytes of an object, a mebibyte at a time.

    Raises:
        SifError: the file has become shorter.
        OSError: it cannot be read.
    """
    with open(sif.path, "rb", buffering=0) as file:
        done = 0
        while done < item.size:
            piece = os.pread(file.fileno(), min(_PIECE_BYTES, item.size - done), item.offset + done)
            if not piece:
                raise SifError(
                    "truncated SIF file",
                    evidence=f"{sif.path}: object {item.identity} ends after {done} bytes",
                    remedy="nothing may write the file while it is read",
                )
            yield piece
            done += len(piece)


def read_object(sif: SifFile, item: form.SifObject) -> bytes:
    """A small object as a whole.

    Raises:
        SifError: it is larger than ``MOST_TEXT_BYTES``.
        OSError: it cannot be read.
    """
    if item.size > MOST_TEXT_BYTES:
        raise SifError(
            f"object {item.identity} is too large for what it claims to be",
            evidence=f"{sif.path}: {KINDS.get(item.kind, item.kind)} of {item.size} bytes",
            remedy=f"sampan sif dump {item.identity} {sif.path} > FILE",
        )
    return b"".join(read_pieces(sif, item))


def find_oci_config(sif: SifFile) -> dict[str, Any] | None:
    """The ``config`` member of the OCI configuration that the file was made from, where it has that.

    Raises:
        SifError: it is too large to be one.
        OSError: it cannot be read.
    """
    for item in sif.objects:
        if item.kind == form.DATA_JSON and item.name == "oci-config.json":
            try:
                found = json.loads(read_object(sif, item))
            except (ValueError, RecursionError):
                return None
            return found if isinstance(found, dict) else None
    return None


def extract_objects(sif: SifFile, directory: Path) -> list[Path]:
    """Write each object into a file of its own, e.g. ``3-partition.squashfs``.

    Nothing in the directory is replaced, and no name of the SIF leads out of it.

    Raises:
        SifError: a file is there already.
        OSError: the directory cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    targets = [(item, directory / file_name(item)) for item in sif.objects]
    for _, target in targets:
        if os.path.lexists(target):
            raise SifError(
                f"{target} is there already",
                evidence="nothing is replaced",
                remedy=f"sampan sif extract {sif.path} DIRECTORY with an empty one",
            )
    for item, target in targets:
        with atomic_file(target) as file:
            for piece in read_pieces(sif, item):
                file.write(piece)
    return [target for _, target in targets]


def file_name(item: form.SifObject) -> str:
    """A name for the file of an object: number, its own name where it has one, and what it is."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", item.name)[:100].strip("._")
    if name:
        return f"{item.identity}-{name}"
    if item.kind == form.DATA_PARTITION:
        known = FILE_SYSTEMS.get(item.file_system, "data").lower()
        return f"{item.identity}-partition.{_FILE_SYSTEM_ENDINGS.get(item.file_system, known)}"
    return f"{item.identity}-object.{_ENDINGS.get(item.kind, 'data')}"
