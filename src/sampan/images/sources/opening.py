"""The grammar of sources: ``kind:path[:tag]`` or a bare path, and the opening of each kind."""

import contextlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sampan.images.sif_source import kind_of_packed, open_sif_source, open_squashfs_source
from sampan.images.sources.archive import (
    ArchiveFiles,
    is_compressed,
    open_input,
    seekable_archive,
)
from sampan.images.sources.directory import open_directory
from sampan.images.sources.docker_archive import open_docker_archive
from sampan.images.sources.layer import FileLayer, StreamLayer
from sampan.images.sources.oci_layout import DirectoryFiles, open_layout
from sampan.model.image import Platform
from sampan.model.source import SourceError, SourceImage

KINDS = ("oci", "oci-archive", "docker-archive", "rootfs", "sif", "squashfs")

_REGISTRY_KINDS = ("docker", "docker-daemon", "containers-storage", "docker://")


class Source(NamedTuple):
    """Where an image comes from.

    Attributes:
        kind: one of KINDS.
        path: of a file or directory; ``-`` is standard input.
        tag: which image of several; may be empty.
    """

    kind: str
    path: str
    tag: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" + (f":{self.tag}" if self.tag else "")


def parse_source(text: str) -> Source:
    """Read a source; a bare path is looked at to see what it is.

    A file that begins as a SIF or a squashfs is one. A directory with a file ``oci-layout`` is a
    layout, any other a root file system; a tar with manifest.json or oci-layout is an image archive,
    any other a root file system. ``rootfs:PATH`` keeps a path from being taken for an image.

    Raises:
        SourceError: there is nothing of that name, or the kind is not known.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        if kind in ("rootfs", "sif", "squashfs"):
            return Source(kind, rest, "")
        return Source(kind, *split_tag(rest))
    if text == "-":
        return Source("rootfs", "-", "")
    if os.path.isdir(text):
        is_layout = os.path.isfile(os.path.join(text, "oci-layout"))
        return Source("oci" if is_layout else "rootfs", text, "")
    if os.path.exists(text):
        return Source(_kind_of_file(text), text, "")
    if colon and (kind in _REGISTRY_KINDS or rest.startswith("//")):
        raise SourceError(
            f"{kind}: is not a kind of source",
            evidence=f"there are: {', '.join(KINDS)}, and bare paths",
            remedy=f"sampan pull {rest.lstrip('/')}"
            if kind == "docker"
            else "docker save IMAGE | sampan import docker-archive:- NAME",
        )
    raise SourceError(
        f"there is no {text}",
        evidence="neither a file nor a directory, and it does not begin with "
        + ", ".join(f"{kind}:" for kind in KINDS),
        remedy="e.g. oci:DIRECTORY:TAG, docker-archive:FILE, a root file system's tar or directory",
    )


@contextlib.contextmanager
def open_source(
    source: Source, *, wanted: Platform | None, host: Platform, spool: Path, store_root: str
) -> Iterator[SourceImage]:
    """The image of a source; its layers can be read until the context ends.

    Args:
        source: from ``parse_source``.
        wanted: the platform that the user asked for.
        host: this machine's.
        spool: a directory for what must lie in a file to be read.
        store_root: left out when a directory holds it.

    Raises:
        SourceError: it cannot be read, or is not what it should be.
        OSError: the spool cannot be written.
    """
    if source.kind == "oci":
        if not os.path.isdir(source.path):
            raise SourceError(
                f"there is no directory {source.path}",
                evidence="it is a file" if os.path.exists(source.path) else "it does not exist",
                remedy="oci: takes a layout's directory; a layout in a tar is oci-archive:FILE",
            )
        files = DirectoryFiles(source.path)
        yield open_layout(files, source.tag, wanted=wanted, host=host)
    elif source.kind in ("oci-archive", "docker-archive"):
        opener = open_layout if source.kind == "oci-archive" else open_docker_archive
        with seekable_archive(source.path, spool) as path:
            archive = ArchiveFiles(path, source.path)
            yield opener(archive, source.tag, wanted=wanted, host=host)
    elif source.kind in ("sif", "squashfs"):
        opener_of = {"sif": open_sif_source, "squashfs": open_squashfs_source}
        yield opener_of[source.kind](source.path, wanted=wanted)
    elif os.path.isdir(source.path):
        user = (os.geteuid(), os.getegid()) if os.geteuid() else None
        yield open_directory(source.path, wanted=wanted, excluded={store_root}, user=user)
    else:
        with _root_file_system(source.path, wanted) as image:
            yield image


@contextlib.contextmanager
def _root_file_system(path: str, wanted: Platform | None) -> Iterator[SourceImage]:
    if os.path.isfile(path):
        size = os.path.getsize(path)
        layer = FileLayer(path, "", "", size, path)
        yield SourceImage(None, (layer,), platform=wanted, compressed=is_compressed(path))
        return
    with open_input(path) as stream:
        label = "standard input" if path == "-" else path
        yield SourceImage(None, (StreamLayer(label, stream),), platform=wanted)


def split_tag(rest: str) -> tuple[str, str]:
    """Path and tag: the whole if it exists, else what stands before the first colon that does.

    Raises:
        SourceError: there is nothing of that name.
    """
    if rest == "-" or os.path.exists(rest):
        return rest, ""
    at = rest.find(":")
    while at >= 0:
        if rest[:at] == "-" or os.path.exists(rest[:at]):
            return rest[:at], rest[at + 1 :]
        at = rest.find(":", at + 1)
    path, _, tag = rest.partition(":")
    raise SourceError(
        f"there is no {path}",
        evidence=f"tag {tag!r} of it was asked for" if tag else "it does not exist",
        remedy="name a file or directory that is there; sampan import --help lists the sources",
    )


def _kind_of_file(path: str) -> str:
    """Tell image archives from root file systems by the names in them."""
    if not os.path.isfile(path):
        return "rootfs"
    packed = kind_of_packed(path)
    if packed:
        return packed
    found = "rootfs"
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = os.path.normpath(member.name)
                if name == "manifest.json":
                    return "docker-archive"
                if name == "oci-layout":
                    # docker save writes both; its manifest.json comes later.
                    found = "oci-archive"
                elif not _may_be_image_archive(name):
                    break
    except (tarfile.TarError, OSError, EOFError):
        return found
    return found


def _may_be_image_archive(name: str) -> bool:
    first, _, rest = name.partition("/")
    return (
        first in ("blobs", "index.json", "repositories")
        or (len(first.removesuffix(".json").removesuffix(".tar")) == 64)
        or (len(first) == 64 and rest in ("", "VERSION", "json", "layer.tar"))
    )
