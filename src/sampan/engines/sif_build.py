"""``sampan sif build``: from anything that holds an image to a file that somebody else runs.

The way is always the same: an image of the store, by a pull or an import, and a copy of its file. A SIF
whose blocks may stay as they are needs no store.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sampan.engines.preflight import PullPlan
from sampan.engines.pull import PullOptions, pull_by_policy, pull_image
from sampan.errors import UsageError
from sampan.images.catalogue import find_record
from sampan.images.importer import ImportOptions, import_image
from sampan.images.layer_packing import Tell
from sampan.images.saving import save_images
from sampan.images.sif_output import copy_root_file_system, copy_sif, rewrap_sif
from sampan.images.sif_source import kind_of_packed
from sampan.images.sources.opening import KINDS
from sampan.images.store import StoredImage, locate_image
from sampan.images.store_layout import StoreLayout
from sampan.model.image import Platform
from sampan.model.spellings import ARTIFACT_PREFIX
from sampan.model.transfer import Hear
from sampan.registry.settings import DEFAULT_SETTINGS, Settings

FORMS = ("sif", "sqsh", "oci-archive", "docker-archive")
_DOCKER = "docker://"


class BuildOptions(NamedTuple):
    """How to build.

    Attributes:
        form: one of FORMS.
        compression: ``zstd`` or ``gzip`` of the squashfs; empty = what is there, else zstd.
        platform: None = the host's.
        policy: when the registry is asked (``pull_by_policy``).
        settings: of the registry client.
    """

    form: str = "sif"
    compression: str = ""
    platform: Platform | None = None
    policy: str = "missing"
    settings: Settings = DEFAULT_SETTINGS


class Built(NamedTuple):
    """What the target is written from: an image of the store, or a SIF file that needs none."""

    image: StoredImage | None
    sif_path: str


def is_local(source: str) -> bool:
    """Whether the words mean a file, a directory or a pipe, and no image of a registry."""
    kind, colon, _ = source.partition(":")
    return bool(colon and kind in KINDS) or source == "-" or os.path.exists(source)


def obtain(
    source: str,
    target: str,
    *,
    store: StoreLayout,
    environment: Mapping[str, str],
    options: BuildOptions,
    planned: Callable[[PullPlan], None] = lambda _: None,
    progress: Tell = lambda _: None,
) -> Built:
    """Make sure that what the target is written from is there.

    Args:
        source: an image's name, or what ``sampan import`` takes.
        target: its name becomes the image's when a file or directory is imported.
        store: created when it does not exist.
        environment: variables: credentials, proxies, homes.
        options: see BuildOptions.
        planned: hears the plan of a pull.
        progress: called now and then, by this thread.

    Raises:
        SampanError: whatever stands in the way.
    """
    if source.startswith(ARTIFACT_PREFIX):
        raise UsageError(
            "an artifact is a SIF file already", remedy=f"sampan pull {source} {target}"
        )
    path = source.removeprefix("sif:")
    if options.form in ("sif", "sqsh") and not options.compression and _is_sif(path):
        return Built(None, path)
    compression = options.compression or "zstd"
    importing = ImportOptions(platform=options.platform, compression=compression)
    if is_local(source):
        image = import_image(
            source, name_of(target), store=store, options=importing, progress=progress
        )
        return Built(image, image.sif_path)
    pulling = PullOptions(platform=options.platform, importing=importing, settings=options.settings)
    name = source.removeprefix(_DOCKER)
    image = pull_by_policy(
        name,
        options.policy,
        store=store,
        environment=environment,
        options=pulling,
        planned=planned,
        progress=progress,
    )
    record = find_record(store, image.digest)
    if options.compression and record is not None and record.compression != compression:
        image = pull_image(
            name,
            store=store,
            environment=environment,
            options=pulling,
            planned=planned,
            progress=progress,
        )
    return Built(image, image.sif_path)


def write_target(
    built: Built, target: str, *, store: StoreLayout, form: str, hear: Hear = lambda _: None
) -> None:
    """Write the file.

    Args:
        built: of ``obtain``.
        target: replaced when it is there.
        store: that has the image.
        form: one of FORMS.
        hear: what happens.

    Raises:
        OutputError, LayoutError: it cannot be written.
        SifError: the source is damaged.
        ImageNotFoundError: the image was removed meanwhile.
    """
    if form == "sqsh":
        copy_root_file_system(built.sif_path, Path(target))
    elif form == "sif" and built.image is None:
        rewrap_sif(built.sif_path, Path(target))
    elif form == "sif":
        copy_sif(built.sif_path, Path(target))
    else:
        assert built.image is not None
        name = built.image.name or locate_image(built.image.digest, store=store).digest
        save_images([name], target, store=store, form=form, hear=hear)


def name_of(target: str) -> str:
    """The name that an imported image gets in the store: ``localhost/sif/`` and the file's.

    No registry's image is called so, and no user's by accident.
    """
    stem = os.path.basename(target).lower()
    word = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")
    return f"localhost/sif/{word or 'image'}:latest"


def _is_sif(path: str) -> bool:
    return os.path.isfile(path) and kind_of_packed(path) == "sif"
