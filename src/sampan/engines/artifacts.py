"""SIF files to and from registries (``oras://``), as Apptainer does it; the store is not needed.

An image of the store is one SIF file: it can be pushed so, too.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from sampan.engines.push import give_document, open_channel
from sampan.errors import SampanError, UsageError
from sampan.images.importer import host_platform
from sampan.images.sif import locate_system_partition
from sampan.images.sources.layer import RangeReader
from sampan.images.store import locate_image
from sampan.images.store_layout import StoreLayout
from sampan.kernel.atomic import atomic_file
from sampan.model.image import Platform
from sampan.model.manifest_render import OCI_MANIFEST
from sampan.model.reference import Reference, parse_reference
from sampan.model.spellings import ARTIFACT_PREFIX
from sampan.model.transfer import Hear, TransferEvent
from sampan.registry.artifacts import EMPTY_CONFIG, find_sif, render_sif_manifest
from sampan.registry.origins import open_origin
from sampan.registry.push import push_manifest
from sampan.registry.settings import DEFAULT_SETTINGS, Settings
from sampan.registry.upload import BlobToPush, Upload, find_blob

_PIECE_BYTES = 1 << 20


class FileError(SampanError):
    """A SIF file cannot be written where the user wants it."""

    id = "file"


def is_artifact_push(name: str, destination: str) -> bool:
    """Whether a push is of a SIF file: one of its ends is ``oras://``."""
    return ARTIFACT_PREFIX in (name[: len(ARTIFACT_PREFIX)], destination[: len(ARTIFACT_PREFIX)])


def push_sif(
    name: str,
    destination: str,
    *,
    store: StoreLayout,
    environment: Mapping[str, str],
    settings: Settings = DEFAULT_SETTINGS,
    hear: Hear = lambda _: None,
) -> str:
    """Give a SIF file to a registry.

    Args:
        name: a file, or an image of the store; or ``oras://…`` when ``destination`` is the file.
        destination: ``oras://…``.
        store: for an image of it.
        environment: variables: credentials, proxies, homes.
        settings: patience and trust.
        hear: what happens.

    Returns:
        The manifest's digest.

    Raises:
        SampanError: whatever stands in the way.
    """
    source, target = name, destination
    if name.startswith(ARTIFACT_PREFIX):
        source, target = destination, name
    if not source:
        raise UsageError(
            "which file is to be pushed?", remedy=f"sampan push FILE.sif {target or name}"
        )
    reference = parse_reference(target)
    path, title = _find_file(source, store)
    size, digest = _measure(path)
    with open_channel(reference, environment, settings) as channel:
        if find_blob(channel, digest) is not None:
            hear(TransferEvent("present", title))
        else:
            blob = BlobToPush(
                title, lambda: cast("BinaryIO", RangeReader(path, 0, size)), digest, size
            )
            Upload(
                channel, blob, lambda done: hear(TransferEvent("sending", title, done, size))
            ).run()
            hear(TransferEvent("sent", title, size, size))
        give_document(channel, EMPTY_CONFIG, f"sha256:{hashlib.sha256(EMPTY_CONFIG).hexdigest()}")
        manifest = render_sif_manifest(digest, size, title)
        return push_manifest(channel, reference.tag or reference.digest, OCI_MANIFEST, manifest)


def pull_sif(
    name: str,
    target: str,
    *,
    environment: Mapping[str, str],
    platform: Platform | None = None,
    force: bool = False,
    settings: Settings = DEFAULT_SETTINGS,
    hear: Hear = lambda _: None,
) -> str:
    """Fetch a SIF file.

    Args:
        name: ``oras://…``.
        target: the file to write; empty = ``NAME_TAG.sif`` in the working directory, Apptainer's.
        environment: variables: credentials, proxies, homes.
        platform: None = this host's.
        force: replace a file that is there.
        settings: patience and trust.
        hear: what happens.

    Returns:
        The path that was written.

    Raises:
        SampanError: whatever stands in the way.
    """
    reference = parse_reference(name)
    path = target or _default_name(reference)
    if os.path.lexists(path) and not force:
        raise FileError(
            f"{path} is there already",
            evidence="it is not replaced unless you say so",
            remedy=f"sampan pull --force {name} {path}",
        )
    with open_origin(reference, environment, settings) as origin:
        blob = find_sif(reference, origin, wanted=platform or host_platform()).blob
        with _file_errors(path), atomic_file(Path(path), 0o755) as file, blob.open() as stream:
            digest = hashlib.sha256()
            done = 0
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
                done += len(piece)
                hear(TransferEvent("sending", path, done, blob.size))
            _check(digest.hexdigest(), blob.digest, name)
    hear(TransferEvent("fetched", path, done, done))
    return path


def _find_file(source: str, store: StoreLayout) -> tuple[str, str]:
    """Path and title of what is to be pushed."""
    if os.path.isfile(source):
        locate_system_partition(source)
        return source, os.path.basename(source)
    image = locate_image(source, store=store)
    title = (
        _default_name(parse_reference(image.name)) if image.name else f"{image.digest[7:19]}.sif"
    )
    return image.sif_path, title


def _measure(path: str) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with _file_errors(path), open(path, "rb", buffering=0) as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return size, f"sha256:{digest.hexdigest()}"


def _default_name(reference: Reference) -> str:
    tail = reference.tag or reference.digest[7:19]
    return f"{reference.repository.rpartition('/')[2]}_{tail}.sif"


def _check(found: str, wanted: str, name: str) -> None:
    if f"sha256:{found}" != wanted:
        raise FileError(
            f"{name} came damaged",
            evidence=f"sha256:{found} instead of {wanted}",
            remedy="pull again; if it stays, the registry is damaged",
        )


@contextlib.contextmanager
def _file_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        remedy = (
            "free space, or write elsewhere" if error.errno == errno.ENOSPC else "check the path"
        )
        raise FileError(
            f"cannot use {path}", evidence=error.strerror or str(error), remedy=remedy
        ) from error
