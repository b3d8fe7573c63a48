"""OCI image layouts (image-spec, image-layout.md), as a directory or inside an archive.

How the bytes of a file are reached is a ``Files``: a directory, or an archive's ranges.
"""

import os
import stat
from typing import Any, NamedTuple, Protocol

from sampan.images.sources.layer import FileLayer, unreadable
from sampan.model.image import Platform, parse_image_config
from sampan.model.manifest import (
    MAXIMUM_DOCUMENT,
    Descriptor,
    Manifest,
    check_layers,
    check_platform,
    find_manifest,
    is_attestation,
    parse_index,
    parse_manifest,
    parse_object,
    platform_warnings,
    verify_document,
)
from sampan.model.source import SourceError, SourceImage


class FileRange(NamedTuple):
    """Where a file's bytes lie: in ``path`` from ``offset``, ``size`` of them."""

    path: str
    offset: int
    size: int


class Files(Protocol):
    """A tree of files with one description for messages."""

    @property
    def description(self) -> str:
        """What messages call the tree."""

    def find(self, name: str) -> FileRange | None:
        """The range of a regular file below the root, or None."""


class DirectoryFiles(NamedTuple):
    """The files of a directory."""

    description: str

    def find(self, name: str) -> FileRange | None:
        """See Files."""
        path = os.path.join(self.description, name)
        try:
            state = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        if not stat.S_ISREG(state.st_mode):
            # Opening a FIFO would wait for ever.
            raise SourceError(
                f"cannot read {path}",
                evidence=f"it is no regular file: {stat.filemode(state.st_mode)}",
                remedy="copy or export the image again",
            )
        return FileRange(path, 0, state.st_size)


def read_file(files: Files, name: str) -> bytes:
    """A small file's content.

    Raises:
        SourceError: it is missing, unreadable or too big for what it is.
    """
    found = files.find(name)
    if found is None:
        raise SourceError(f"{files.description} has no {name}", remedy="export the image again")
    if found.size > MAXIMUM_DOCUMENT:
        raise SourceError(
            f"{name} of {files.description} is too big",
            evidence=f"{found.size} bytes; at most {MAXIMUM_DOCUMENT} are read",
        )
    try:
        with open(found.path, "rb") as stream:
            stream.seek(found.offset)
            return stream.read(found.size)
    except OSError as error:
        raise unreadable(found.path, error) from error


def open_layout(files: Files, tag: str, *, wanted: Platform | None, host: Platform) -> SourceImage:
    """The image of a layout.

    Args:
        files: the layout.
        tag: name in the index, or a manifest's digest; empty when there is only one image.
        wanted: the platform that the user asked for.
        host: the platform to choose without a wish.

    Raises:
        SourceError: nothing fits, or something is missing or damaged; lists what there is.
    """
    where = files.description
    chosen = find_entries(files, tag)
    descriptor = find_manifest(
        chosen,
        wanted or host,
        where,
        load=lambda entry: _load(files, entry),
        platform_of=lambda entry: _platform_of(files, entry),
    )
    manifest = _load_manifest(files, descriptor)
    config = read_blob(files, manifest.config)
    parsed = parse_image_config(verify_document(config, manifest.config))
    check_layers(parsed.diff_ids, len(manifest.layers), where)
    check_platform(parsed.platform, wanted, where)
    return SourceImage(
        config,
        _layers(files, manifest, parsed.diff_ids),
        manifest_digest=descriptor.digest,
        suggested_name=chosen[0].annotations.get("io.containerd.image.name", ""),
        compressed=True,
        warnings=platform_warnings(parsed.platform, wanted, host),
    )


def find_entries(files: Files, tag: str) -> list[Descriptor]:
    """The entries of a layout's index that a tag means: one, or several of one name.

    Raises:
        SourceError: there is none, or several names without a tag; lists what there is.
    """
    where = files.description
    top = load_entries(files)
    chosen = [entry for entry in top if not is_attestation(entry)]
    if tag:
        chosen = [entry for entry in chosen if tag in (entry.name, entry.digest)] or [
            entry for entry in chosen if _is_short_name(tag, entry)
        ]
    names = {entry.name for entry in chosen if entry.name}
    if not chosen or (not tag and len(names) > 1):
        raise _wrong_tag(where, tag, top)
    return chosen


def load_entries(files: Files) -> list[Descriptor]:
    """All entries of a layout's index.

    Raises:
        SourceError: it is no layout, or of an unknown version.
    """
    _check_version(files)
    where = files.description
    return parse_index(
        parse_object(read_file(files, "index.json"), f"index.json of {where}"), where
    )


def read_blob(files: Files, descriptor: Descriptor) -> bytes:
    """A small blob; not verified yet.

    Raises:
        SourceError: it is missing or too big.
    """
    return read_file(files, blob_name(descriptor.digest))


def _layers(files: Files, manifest: Manifest, diff_ids: tuple[str, ...]) -> tuple[FileLayer, ...]:
    layers, problems = [], []
    for descriptor, diff_id in zip(manifest.layers, diff_ids, strict=True):
        found = files.find(blob_name(descriptor.digest))
        if found is None:
            problems.append(f"{descriptor.digest} is missing")
        elif found.size != descriptor.size:
            problems.append(
                f"{descriptor.digest} has {found.size} bytes, the manifest says {descriptor.size}"
            )
        else:
            label = descriptor.digest[:19]
            layers.append(
                FileLayer(label, descriptor.digest, diff_id, found.size, found.path, found.offset)
            )
    if problems:
        raise SourceError(
            f"layers of {files.description} are missing or damaged",
            evidence="; ".join(problems),
            remedy="copy or export the image again",
        )
    return tuple(layers)


def _platform_of(files: Files, entry: Descriptor) -> Platform:
    config = _load_manifest(files, entry).config
    return parse_image_config(verify_document(read_blob(files, config), config)).platform


def _load_manifest(files: Files, descriptor: Descriptor) -> Manifest:
    return parse_manifest(_load(files, descriptor), descriptor.digest)


def _load(files: Files, descriptor: Descriptor) -> dict[str, Any]:
    return verify_document(read_blob(files, descriptor), descriptor)


def _check_version(files: Files) -> None:
    version = parse_object(read_file(files, "oci-layout"), "oci-layout").get("imageLayoutVersion")
    if not isinstance(version, str) or not version.startswith("1."):
        raise SourceError(
            f"{files.description} is a layout of a version that is not known",
            evidence=f"imageLayoutVersion {version!r}",
        )


def _is_short_name(tag: str, entry: Descriptor) -> bool:
    """Containerd and buildkit write whole names where others write the tag."""
    full = entry.annotations.get("io.containerd.image.name", "") or entry.name
    return full.rpartition("/")[2].rpartition(":")[2] == tag or full == tag


def _wrong_tag(where: str, tag: str, top: list[Descriptor]) -> SourceError:
    names = [entry.name or entry.digest for entry in top if not is_attestation(entry)]
    if not names:
        return SourceError(f"{where} holds no image", evidence="its index.json is empty")
    return SourceError(
        f"{where} has no image {tag!r}" if tag else f"{where} holds {len(names)} images",
        evidence=f"there is: {', '.join(sorted(names))}",
        remedy=f"choose one: oci:DIRECTORY:{min(names)}",
    )


def blob_name(digest: str) -> str:
    """Where a layout keeps a blob."""
    return f"blobs/{digest.replace(':', '/')}"
