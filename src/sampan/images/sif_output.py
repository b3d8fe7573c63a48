"""SIF files and squashfs images written where the user wants them, copied from what is there.

Nothing is compressed again: the file system's bytes are the same in the store, in a SIF and in a file
for Enroot. The kernel copies, and where the file system can (btrfs, xfs) both files share their blocks.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sampan.errors import SampanError
from sampan.images import sif_format as form
from sampan.images.sif import (
    SifError,
    locate_system_partition,
    open_sif,
    plan_sif,
    render_sif_front,
)
from sampan.images.sif_parts import find_primary, read_object
from sampan.images.squashfs.blocks import copy_range, write_fully
from sampan.kernel.atomic import atomic_file


class OutputError(SampanError):
    """A file cannot be written where the user wants it."""

    id = "output-file"


def require_free(target: str, *, force: bool) -> None:
    """Refuse a target that is there, or can never be written.

    Raises:
        OutputError: it exists and ``force`` is not set, or it is no regular file.
    """
    if os.path.lexists(target) and not (force and os.path.isfile(target)):
        raise OutputError(
            f"{target} is there already",
            evidence="it is a directory or no regular file"
            if not os.path.isfile(target)
            else "it is not replaced unless you say so",
            remedy="name another file" if not os.path.isfile(target) else "add --force",
        )
    directory = os.path.dirname(os.path.abspath(target))
    if not os.access(directory, os.W_OK):
        raise OutputError(
            f"cannot write {target}",
            evidence=f"{directory} {'is not writable' if os.path.isdir(directory) else 'is missing'}",
            remedy="name a file in a directory of yours",
        )


def copy_sif(source: str, target: Path) -> None:
    """Write a copy of a whole SIF file.

    Raises:
        OutputError: it cannot be written.
        SifError: the source is none.
    """
    locate_system_partition(source)
    with open(source, "rb") as file, _writing(target), atomic_file(target, 0o755) as out:
        size = os.fstat(file.fileno()).st_size
        copy_range(file.fileno(), 0, out.fileno(), 0, size)


def copy_root_file_system(source: str, target: Path) -> None:
    """Write the squashfs image in a SIF file as a file of its own, as Enroot starts it.

    Raises:
        OutputError: it cannot be written.
        SifError: the source is none.
    """
    offset, size = locate_system_partition(source)
    with open(source, "rb") as file, _writing(target), atomic_file(target) as out:
        copy_range(file.fileno(), offset, out.fileno(), 0, size)


def rewrap_sif(source: str, target: Path) -> None:
    """Write a SIF with the root file system and the descriptions of another, nothing else.

    Signatures speak for the file that was signed, overlays are somebody's own changes: both stay
    behind.

    Raises:
        OutputError: it cannot be written.
        SifError: the source is none.
    """
    offset, size = locate_system_partition(source)
    sif = open_sif(source)
    definition = config = b""
    for item in sif.objects:
        if item.kind == form.DATA_DEFINITION and not definition:
            definition = read_object(sif, item)
        elif item.kind == form.DATA_JSON and item.name == "oci-config.json" and not config:
            config = read_object(sif, item)
    primary = find_primary(sif)
    assert primary is not None
    architecture = sif.architecture
    if not architecture:
        raise SifError(
            "the architecture of this SIF is not known",
            evidence=f"{source}: its header says {sif.header.architecture!r}",
            remedy=f"sampan import --platform OS/ARCH {source} NAME",
        )
    layout = plan_sif(definition, config)
    with open(source, "rb") as file, _writing(target), atomic_file(target, 0o755) as out:
        copy_range(file.fileno(), offset, out.fileno(), layout.partition_at, size)
        front = render_sif_front(layout, size, architecture, sif.header.identity)
        write_fully(out.fileno(), front, 0)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OutputError(
            f"cannot write {target}",
            evidence=error.strerror or str(error),
            remedy="check the room on its disk and the quota",
        ) from error
