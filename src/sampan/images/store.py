"""Finding an image in the store at container start: names, short ids, digests (design.md §4).

Reads only and takes no lock. What changes the store is in ``catalogue`` (names, records),
``packs``, ``prune`` and ``importer``. On the start path: ``os``, ``json`` and the model only.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from sampan.errors import SampanError
from sampan.images.documents import read_json
from sampan.images.store_layout import StoreLayout, hex_of, locate_own_store, locate_store
from sampan.model.reference import ImageNameError, Reference, is_hex, parse_reference

SHORTEST_ID = 4
"""Fewest hexadecimal digits that are taken for the beginning of an image id."""


class ImageNotFoundError(SampanError):
    """The store has no such image; ``near`` is a name in it that reads much like it, or empty."""

    id = "image-not-found"
    near = ""


class AmbiguousImageError(SampanError):
    """A short id fits several images."""

    id = "image-ambiguous"


class UnsafeStoreError(SampanError):
    """Anybody could put an image into this store."""

    id = "store-unsafe"


class StoredImage(NamedTuple):
    """A complete image of the store.

    Attributes:
        digest: the image's id: ``sha256:<hex>`` of its config.
        name: full name by which it was found; empty when found by id.
        sif_path: the single file, ``facts_path`` its facts (JSON, ``facts_json.load_facts``),
            ``config_path`` its OCI configuration as it came.
    """

    digest: str
    name: str
    sif_path: str
    facts_path: str
    config_path: str


def find_image(
    name: str, *, store: StoreLayout | None = None, environment: Mapping[str, str] | None = None
) -> StoredImage | None:
    """The image that ``name`` means: a name, an id or its beginning, ``NAME@sha256:…``; or None.

    As docker does, a name goes before an id that reads the same.

    Args:
        name: in the user's words.
        store: with its site stores; the user's own, and theirs below it, when None.
        environment: for finding the user's store; the process's when None.

    Raises:
        AmbiguousImageError: a short id fits several images.
        UnsafeStoreError: the store's root is writable by everybody.
    """
    if store is not None:
        return _find_in(store, name)
    variables = os.environ if environment is None else environment
    found = _find_in(locate_own_store(variables), name)
    if found is None:
        # Only now: a start from the user's own store need not know of others.
        stacked = locate_store(variables)
        found = _find_in(stacked, name) if stacked.sites else None
    return found


def _find_in(layout: StoreLayout, name: str) -> StoredImage | None:
    is_there = check_store(layout)
    if not is_there and not layout.sites:
        return None
    homes = (*((layout,) if is_there else ()), *layout.stack[1:])
    try:
        reference = parse_reference(name)
    except ImageNameError:
        reference = None
    if reference is not None:
        for home in homes:
            found = _find_reference(home, reference)
            if found is not None:
                return found
    digits = hex_of(name)
    if is_hex(digits) and SHORTEST_ID <= len(digits) <= 64:
        return _find_identity(layout, digits)
    return None


def locate_image(
    name: str, *, store: StoreLayout | None = None, environment: Mapping[str, str] | None = None
) -> StoredImage:
    """As ``find_image``, for callers that cannot go on without it.

    Raises:
        ImageNotFoundError: nothing in the store has this name or id.
        ImageNameError: the text is neither a name nor an id.
    """
    found = find_image(name, store=store, environment=environment)
    if found is not None:
        return found
    layout = store or locate_store(os.environ if environment is None else environment)
    wanted = name if is_hex(hex_of(name)) else parse_reference(name).familiar
    near = _find_similar(layout, wanted)
    hint = f"did you mean {near}?" if near else "sampan images lists what is there"
    refusal = ImageNotFoundError(
        f"no image {wanted} in the store",
        evidence=f"looked in {', '.join((layout.root, *layout.sites))}",
        remedy=f"sampan pull {name}    or: sampan import SOURCE {name}    ({hint})",
    )
    refusal.near = near or ""
    raise refusal


def _find_similar(layout: StoreLayout, wanted: str) -> str | None:
    """The name in the store that is most like the one that is not there."""
    from difflib import get_close_matches

    from sampan.images.catalogue import list_all_names

    known = [one.reference.familiar for one in list_all_names(layout)]
    return next(iter(get_close_matches(wanted, known, n=1)), None)


def check_store(layout: StoreLayout) -> bool:
    """Whether the store exists.

    Raises:
        UnsafeStoreError: everybody may write into its root, its images or its names.
    """
    for path in (layout.root, layout.images, layout.refs):
        try:
            mode = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return path != layout.root
        if mode & 0o002:
            raise UnsafeStoreError(
                f"the store {layout.root} is writable by everybody",
                evidence=f"the mode of {path} is {mode & 0o7777:04o}; any user could replace an "
                "image in it",
                remedy=f"chmod -R o-w {layout.root}",
            )
    return True


def stored_image(layout: StoreLayout, digest: str, name: str = "") -> StoredImage:
    """The paths of an image, in whatever store of the stack it lies, whether it is there or not."""
    home = layout.image_home(digest)
    return StoredImage(
        digest,
        name,
        home.image_file(digest, "sif"),
        home.image_file(digest, "facts.json"),
        home.image_file(digest, "config.json"),
    )


def has_image(layout: StoreLayout, digest: str) -> bool:
    """Whether the image is there and complete, in this store or in a site store."""
    home = layout.image_home(digest)
    return os.path.exists(home.image_file(digest, "record.json")) and os.path.exists(
        home.image_file(digest, "sif")
    )


def _find_reference(layout: StoreLayout, reference: Reference) -> StoredImage | None:
    ref = read_json(layout.ref_file(reference))
    if ref is None and reference.digest:
        ref = _find_pinned(layout, reference)
    if ref is None or not has_image(layout, str(ref.get("image", ""))):
        return None
    return stored_image(layout, str(ref["image"]), str(ref.get("name", reference)))


def _find_pinned(layout: StoreLayout, reference: Reference) -> dict[str, Any] | None:
    """NAME@DIGEST where the store knows NAME by its tag: any tag of it with that digest."""
    prefix = reference.name.replace("/", "+")
    try:
        names = sorted(os.listdir(layout.refs))
    except FileNotFoundError:
        return None
    for file_name in names:
        if not file_name.startswith(prefix[:160]):
            continue
        ref = read_json(f"{layout.refs}/{file_name}")
        if (
            ref is not None
            and reference.digest in (ref.get("digest"), ref.get("image"))
            and parse_reference(str(ref.get("name", ""))).name == reference.name
        ):
            return ref
    return None


def _find_identity(layout: StoreLayout, digits: str) -> StoredImage | None:
    found = set()
    for home in layout.stack:
        with suppress(FileNotFoundError):
            found |= {
                name.partition(".")[0]
                for name in os.listdir(home.images)
                if name.startswith(digits) and name.endswith(".record.json")
            }
    fitting = sorted(found)
    if len(fitting) > 1:
        raise AmbiguousImageError(
            f"the id {digits} fits {len(fitting)} images",
            evidence=", ".join(name[:12] for name in fitting[:5]),
            remedy="give more digits of the id",
        )
    if not fitting or not has_image(layout, f"sha256:{fitting[0]}"):
        return None
    return stored_image(layout, f"sha256:{fitting[0]}")
