"""What a registry's refusal of something that we send means to a user."""

from sampan.registry.failures import (
    ForbiddenError,
    NotFoundError,
    Refusal,
    RegistryError,
    explain_refusal,
)
from sampan.registry.settings import NGC

_QUOTA_WORDS = ("quota", "storage limit", "out of space", "insufficient storage")


class QuotaError(ForbiddenError):
    """There is no room for us at the registry."""

    id = "registry-quota"


class ReadOnlyError(ForbiddenError):
    """The registry takes nothing at all, or the tag may not be changed."""

    id = "registry-read-only"


def explain_push(refusal: Refusal, *, registry: str, repository: str, what: str) -> RegistryError:
    """The error for an answer to a push that is no success.

    Args:
        refusal: the answer.
        registry: as users write it.
        repository: path in it.
        what: completes "cannot ...", e.g. ``push to my/image``.
    """
    evidence = refusal.evidence()
    words = f"{refusal.words} {' '.join(refusal.codes)}".lower()
    if refusal.status in (402, 403, 412, 413, 507) and any(word in words for word in _QUOTA_WORDS):
        return QuotaError(
            f"there is no room left for {registry}/{repository}",
            evidence=evidence,
            remedy="delete images there, or ask the registry's operator for a higher quota",
        )
    match refusal.status:
        case 403:
            return ForbiddenError(
                f"{registry} does not let you {what}",
                evidence=evidence,
                remedy=_remedy_for_forbidden(registry),
            )
        case 404:
            return NotFoundError(
                f"{registry} has no repository {repository} to push to",
                evidence=evidence,
                remedy=_remedy_for_absence(registry),
            )
        case 405:
            return ReadOnlyError(
                f"{registry} takes no images",
                evidence=evidence,
                remedy="it may be a mirror or in maintenance: push to the registry behind it",
            )
        case 409 | 412:
            return ReadOnlyError(
                f"{registry} does not let a tag of {repository} be replaced",
                evidence=evidence,
                remedy="push under another tag",
            )
        case 413:
            return RegistryError(
                f"{registry} does not take pieces as large as ours",
                evidence=evidence,
                remedy="its proxy limits a request's size: ask its operator to raise that "
                "(nginx: client_max_body_size)",
            )
        case 400 | 415 if "MANIFEST" in " ".join(refusal.codes) or refusal.status == 415:
            return RegistryError(
                f"{registry} does not take the manifest",
                evidence=evidence,
                remedy="a registry that knows no OCI images may take: sampan push --format v2s2",
            )
    return explain_refusal(refusal, registry=registry, repository=repository, what=what)


def _remedy_for_forbidden(registry: str) -> str:
    if registry == NGC:
        return (
            "the key needs the service Private Registry with the right to push, of the "
            "organisation in the name: https://org.ngc.nvidia.com/setup/api-keys, "
            "then: sampan login nvcr.io"
        )
    return f"log in as somebody who may push there: sampan login {registry}"


def _remedy_for_absence(registry: str) -> str:
    if registry == NGC:
        return (
            "check ORG[/TEAM] in nvcr.io/ORG[/TEAM]/IMAGE; create the image first: "
            "ngc registry image create ORG[/TEAM]/IMAGE, or Private Registry at "
            "https://registry.ngc.nvidia.com"
        )
    return "check the name; some registries want a project or repository to be created first"
