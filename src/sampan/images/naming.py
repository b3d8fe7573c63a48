"""More names for an image of the store (``docker tag``)."""

from collections.abc import Sequence

from sampan.errors import UsageError
from sampan.images.catalogue import list_all_names, set_name
from sampan.images.store import ImageNotFoundError, locate_image
from sampan.images.store_access import create_store
from sampan.images.store_layout import StoreLayout
from sampan.model.reference import parse_reference


def tag_image(layout: StoreLayout, name: str, new_names: Sequence[str]) -> None:
    """Let names mean an image; names that mean another image are taken over.

    Args:
        layout: the store.
        name: a name, or an id.
        new_names: in docker's grammar.

    Raises:
        ImageNotFoundError: there is no such image.
        ImageNameError: a new name does not follow the grammar.
        UsageError: a new name has a digest.
        StoreError: the store cannot be written.
    """
    references = [parse_reference(new) for new in new_names]
    for reference in references:
        if reference.digest:
            raise UsageError(
                f"{reference.familiar} pins a digest",
                evidence="a tag can be given, a digest cannot",
                remedy=f"sampan tag {name} {reference.familiar_name}:TAG",
            )
        if reference.is_artifact:
            raise UsageError(
                f"{reference.familiar} names a file in a registry, not an image",
                remedy=f"sampan push {name} {reference.familiar}",
            )
    image = locate_image(name, store=layout)
    # The manifest's digest belongs to the image, whatever it is called.
    manifest = next(
        (
            known.manifest_digest
            for known in list_all_names(layout)
            if known.image == image.digest and image.name in ("", str(known.reference))
        ),
        "",
    )
    create_store(layout)
    for reference in references:
        if set_name(layout, reference, image.digest, manifest) is None:
            raise ImageNotFoundError(
                f"image {name} was removed while it was tagged", evidence=image.digest
            )
