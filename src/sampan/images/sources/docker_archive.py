"""What ``docker save`` writes: manifest.json, a configuration, layers as uncompressed tars.

The legacy form (``<id>/layer.tar``) and the one with an OCI layout beside manifest.json are read
alike, through manifest.json, which both have (docker's image/tarexport).
"""

import hashlib
import json

from sampan.images.sources.layer import FileLayer
from sampan.images.sources.oci_layout import (
    Files,
    read_file,
)
from sampan.model.image import Platform, parse_image_config
from sampan.model.manifest import check_layers, check_platform, parse_object, platform_warnings
from sampan.model.reference import ImageNameError, parse_reference
from sampan.model.source import SourceError, SourceImage


def open_docker_archive(
    files: Files,
    tag: str,
    *,
    wanted: Platform | None,
    host: Platform,
    position: int | None = None,
) -> SourceImage:
    """The image of a docker archive.

    Args:
        files: the archive.
        tag: one of its names (``repository:tag``, or the tag alone); empty when it has one image.
        wanted: the platform that the user asked for.
        host: this machine's.
        position: of the image in manifest.json, in place of ``tag``.

    Raises:
        SourceError: nothing fits, or something is missing or damaged; lists what there is.
    """
    where = files.description
    images = load_images(files)
    image = _choose(images, tag, where) if position is None else images[position]
    names = names_of(image)
    config = read_file(files, str(image.get("Config")))
    parsed = parse_image_config(parse_object(config, f"the configuration in {where}"))
    paths = image.get("Layers")
    if not isinstance(paths, list):
        raise SourceError(f"manifest.json of {where} has no list of layers")
    check_layers(parsed.diff_ids, len(paths), where)
    _check_config(str(image.get("Config")), config, where)
    check_platform(parsed.platform, wanted, where)
    layers = []
    missing = []
    for path, diff_id in zip(paths, parsed.diff_ids, strict=True):
        found = files.find(str(path))
        if found is None:
            missing.append(str(path))
            continue
        label = f"{str(path)[:32]} ({diff_id[:19]})"
        layers.append(FileLayer(label, "", diff_id, found.size, found.path, found.offset))
    if missing:
        raise SourceError(
            f"layers of {where} are missing",
            evidence=", ".join(missing),
            remedy="export the image again",
        )
    return SourceImage(
        config,
        tuple(layers),
        suggested_name=names[0] if names else "",
        warnings=platform_warnings(parsed.platform, wanted, host),
    )


def load_images(files: Files) -> list[dict[str, object]]:
    """What manifest.json says of each image.

    Raises:
        SourceError: it is missing or malformed.
    """
    content = read_file(files, "manifest.json")
    try:
        images = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"manifest.json of {files.description} is not JSON", evidence=str(error)
        ) from error
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise SourceError(f"manifest.json of {files.description} is no list of images")
    return images


def _choose(images: list[dict[str, object]], tag: str, where: str) -> dict[str, object]:
    fitting = [image for image in images if not tag or _has_name(image, tag)]
    if len(fitting) == 1:
        return fitting[0]
    names = sorted(name for image in images for name in names_of(image) or ["(no name)"])
    if not names:
        raise SourceError(f"{where} holds no image", evidence="its manifest.json is empty")
    raise SourceError(
        f"{where} has no image {tag!r}" if tag else f"{where} holds {len(images)} images",
        evidence=f"there is: {', '.join(names)}",
        remedy=f"choose one: docker-archive:FILE:{names[0]}",
    )


def names_of(image: dict[str, object]) -> list[str]:
    """Names of an image of manifest.json."""
    names = image.get("RepoTags")
    return [str(name) for name in names] if isinstance(names, list) else []


def _has_name(image: dict[str, object], tag: str) -> bool:
    if tag in names_of(image) or any(name.rpartition(":")[2] == tag for name in names_of(image)):
        return True
    try:
        wanted = parse_reference(tag)
        return any(parse_reference(name) == wanted for name in names_of(image))
    except ImageNameError:
        return False


def _check_config(name: str, config: bytes, where: str) -> None:
    """The file name is the digest in both forms (``<hex>.json``, ``blobs/sha256/<hex>``)."""
    digits = name.rpartition("/")[2].removesuffix(".json")
    found = hashlib.sha256(config).hexdigest()
    if len(digits) == 64 and digits != found:
        raise SourceError(
            f"the configuration in {where} has other content than its name says",
            evidence=f"{name} is sha256:{found}",
            remedy="export the image again",
        )
