"""All images of an archive into the store, under the names that it gives them (``docker load``)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sampan.errors import UsageError
from sampan.images.importer import ImportOptions, host_platform, open_for_import, store_image
from sampan.images.layer_packing import ImportEvent, Tell
from sampan.images.sources.archive import ArchiveFiles, seekable_archive
from sampan.images.sources.docker_archive import load_images, names_of, open_docker_archive
from sampan.images.sources.oci_layout import Files, load_entries, open_layout
from sampan.images.store_access import store_errors
from sampan.images.store_layout import StoreLayout
from sampan.model.manifest import Descriptor, is_attestation
from sampan.model.reference import ImageNameError, Reference, parse_reference
from sampan.model.source import SourceImage

_CONTAINERD_NAME = "io.containerd.image.name"


class LoadedName(NamedTuple):
    """A name that means an image of the store now."""

    reference: Reference
    digest: str


def load_archive(
    source: str,
    *,
    store: StoreLayout,
    options: ImportOptions | None = None,
    progress: Tell = lambda _: None,
) -> list[LoadedName]:
    """Import every named image of a docker or OCI archive; what is there is not done again.

    Args:
        source: the archive, compressed or not; ``-`` is standard input.
        store: created when it does not exist.
        options: compression, platform, limits; defaults when None.
        progress: called now and then, by this thread.

    Raises:
        SourceError: the archive cannot be read, or holds no image.
        LayerError: a layer is damaged or hostile.
        StoreError: the store cannot be written, or has no room.
        UsageError: no image in it has a name.
    """
    chosen = options or ImportOptions()
    loaded = []
    with (
        open_for_import(store),
        store_errors(store),
        seekable_archive(source, Path(store.packs(chosen.compression))) as path,
    ):
        files = ArchiveFiles(path, source)
        is_docker = files.find("manifest.json") is not None
        form = "docker-archive" if is_docker else "oci-archive"
        found = _find_docker(files, chosen) if is_docker else _find_oci(files, chosen)
        for image, names in found:
            for warning in image.warnings:
                progress(ImportEvent("warning", warning))
            references = list(_read_names(names, progress))
            for reference in references:
                stored = store_image(
                    image, f"{form}:{source}", reference,
                    store=store, options=chosen, progress=progress,
                )  # fmt: skip
                loaded.append(LoadedName(reference, stored.digest))
            if not references:
                progress(ImportEvent("warning", f"an image without a name is left out{_ways(source, form)}"))  # fmt: skip
    if not loaded:
        raise UsageError(
            "no image of the archive has a name",
            evidence=source,
            remedy=f"sampan import {form}:{source} NAME",
        )
    return loaded


def _find_docker(
    files: Files, options: ImportOptions
) -> Iterator[tuple[SourceImage, Sequence[str]]]:
    for position, image in enumerate(load_images(files)):
        yield (
            open_docker_archive(
                files, "", wanted=options.platform, host=host_platform(), position=position
            ),
            names_of(image),
        )


def _find_oci(files: Files, options: ImportOptions) -> Iterator[tuple[SourceImage, Sequence[str]]]:
    """Each document of the index once, with all names of it."""
    names: dict[str, list[str]] = {}
    for entry in load_entries(files):
        if not is_attestation(entry):
            names.setdefault(entry.digest, []).append(_whole_name(entry))
    for digest, called in names.items():
        yield (
            open_layout(files, digest, wanted=options.platform, host=host_platform()),
            [name for name in called if name],
        )


def _whole_name(entry: Descriptor) -> str:
    """A name with a repository; a tag alone says too little."""
    for name in (entry.annotations.get(_CONTAINERD_NAME, ""), entry.name):
        if "/" in name or ":" in name:
            return name
    return ""


def _read_names(names: Sequence[str], progress: Tell) -> Iterator[Reference]:
    for name in dict.fromkeys(names):
        try:
            yield parse_reference(name)
        except ImageNameError as error:
            progress(ImportEvent("warning", f"{error.cause}: {error.evidence}"))


def _ways(source: str, form: str) -> str:
    return f": sampan import {form}:{source} NAME" if source != "-" else ""
