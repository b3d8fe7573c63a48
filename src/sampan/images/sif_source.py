"""SIF files and squashfs images (Enroot's ``.sqsh``) as sources of images: one layer each.

What Singularity and Apptainer put into an image is left out where the file also has the OCI configuration
that it was made from: the image that comes out is then the one that once went in.
"""

import os

from sampan.images import sif_format as form
from sampan.images.sif import SifError, SifFile, open_sif
from sampan.images.sif_parts import find_oci_config, find_primary
from sampan.images.squashfs.decompression import SquashfsError
from sampan.images.squashfs.reader import SquashfsReader
from sampan.images.squashfs.tar_stream import SquashfsLayer
from sampan.model.image import Platform
from sampan.model.source import SourceError, SourceImage

_SQUASHFS_MAGIC = b"hsqs"
_SIF_MAGIC_AT = 32
_SCAFFOLD = b".singularity.d"
"""What Apptainer puts at the root, beside links into it."""


def kind_of_packed(path: str) -> str:
    """``sif``, ``squashfs``, or empty when the file is neither or cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_SIF_MAGIC_AT + len(form.MAGIC))
    except OSError:
        return ""
    if head[_SIF_MAGIC_AT:] == form.MAGIC:
        return "sif"
    return "squashfs" if head.startswith(_SQUASHFS_MAGIC) else ""


def open_squashfs_source(path: str, *, wanted: Platform | None) -> SourceImage:
    """The image whose root file system is a squashfs image.

    Raises:
        SourceError: there is no such file.
    """
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise SourceError(
            f"there is no {path}", evidence=error.strerror or "", remedy="check the path"
        ) from error
    return SourceImage(None, (SquashfsLayer(path, path, 0, size),), platform=wanted)


def open_sif_source(path: str, *, wanted: Platform | None) -> SourceImage:
    """The image in a SIF file.

    Raises:
        SourceError: it is none, is damaged, or its root file system is not squashfs.
    """
    try:
        sif = open_sif(path)
        primary = find_primary(sif)
        if primary is None or primary.file_system != form.FILE_SYSTEM_SQUASHFS:
            raise SifError(
                "this SIF has no root file system that can be read",
                evidence=f"{path}: it must be squashfs, and not encrypted",
                remedy=f"sampan sif list {path} shows what it has",
            )
        run = find_oci_config(sif)
        scaffold = () if run is None else _find_scaffold(sif, primary)
    except (SifError, SquashfsError) as error:
        raise SourceError(error.cause, evidence=error.evidence, remedy=error.remedy) from error
    except OSError as error:
        raise SourceError(
            f"cannot read {path}", evidence=error.strerror or "", remedy="check the path"
        ) from error
    platform = wanted or (Platform("linux", sif.architecture) if sif.architecture else None)
    warnings: tuple[str, ...] = ()
    if run is None:
        name = os.path.basename(path)
        text = f"{name} was not made from an OCI image: its runscript and %environment stay behind"
        warnings = (text,)
    layer = SquashfsLayer(path, path, primary.offset, primary.size, scaffold)
    return SourceImage(None, (layer,), platform=platform, warnings=warnings, run_config=run)


def _find_scaffold(sif: SifFile, primary: form.SifObject) -> tuple[bytes, ...]:
    """The names at the root that Apptainer's builder, or ours, has put there."""
    descriptor = os.open(sif.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        reader = SquashfsReader(descriptor, primary.offset, primary.size)
        return tuple(
            name
            for name, reference in reader.entries(reader.root())
            if name == _SCAFFOLD
            or reader.inode(reference).link.lstrip(b"/").startswith(_SCAFFOLD + b"/")
        )
    finally:
        os.close(descriptor)
