"""Names without a tag on nvcr.io: NVIDIA's own repositories have no ``latest``, so tags are suggested.

Nobody is given an image that he did not name (field note: registries, 1.1).
"""

from collections.abc import Mapping

from sampan.errors import SampanError
from sampan.model.reference import Reference, parse_reference
from sampan.model.spellings import read_spelling
from sampan.registry.catalogue import list_tags
from sampan.registry.client import is_about_image
from sampan.registry.failures import NotFoundError
from sampan.registry.settings import DEFAULT_SETTINGS, NGC, Settings

_SHOWN = 8


class TagMissingError(SampanError):
    """The name has no tag, and its registry has none that could be meant."""

    id = "tag-missing"


def require_tag(
    name: str, environment: Mapping[str, str], settings: Settings = DEFAULT_SETTINGS
) -> None:
    """Return when a name says which image of its repository is meant, or its registry has a habit.

    Args:
        name: as the user wrote it.
        environment: variables: credentials, proxies.
        settings: patience, trust.

    Raises:
        ImageNameError: it is no name.
        NotFoundError: nvcr.io has no such repository.
        TagMissingError: it is a repository of nvcr.io; names its newest tags.
    """
    reference = parse_reference(name)
    if reference.registry != NGC or has_tag(name):
        return
    try:
        tags = list_tags(
            reference, order="date", limit=_SHOWN, pattern="", environment=environment,
            settings=settings,
        )  # fmt: skip
    except NotFoundError:
        raise
    except SampanError as error:
        raise _refuse(reference, f"its tags could not be listed: {error.cause}", "TAG") from error
    shown = [listing.tag for listing in tags.tags if not is_about_image(listing.tag)]
    if not shown:
        raise _refuse(reference, "the repository has no tags", "TAG")
    # What was only pushed last may be a build for another kind of machine.
    likely = next((tag for tag in shown if not tag.endswith("-igpu")), shown[0])
    how = "the newest are" if tags.order == "date" else "some are"
    raise _refuse(reference, f"of {tags.total} tags {how} {', '.join(shown)}", likely)


def has_tag(name: str) -> bool:
    """Whether a name, in whatever spelling, has a tag or a digest.

    Raises:
        SpellingError: it is no name of a registry's image.
    """
    plain, _ = read_spelling(name)
    return "@" in plain or ":" in plain.rpartition("/")[2]


def _refuse(reference: Reference, evidence: str, tag: str) -> TagMissingError:
    return TagMissingError(
        f"{reference.name} is a repository: say which image of it, by a tag",
        evidence=f"{NGC} has no habit of a tag 'latest'; {evidence}",
        remedy=f"{reference.name}:{tag}    (sampan tags {reference.name} lists all)",
    )
