"""What refers to an image: signatures, bills of materials, attestations (distribution-spec 1.1).

Asked for at the referrers' own address; a registry that does not have it (404) keeps the same list
as an index under the tag ``sha256-<hex>`` (the specification's fallback schema). cosign's older tags
``sha256-<hex>.sig``, ``.att`` and ``.sbom`` are looked for too.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from sampan.model.manifest import (
    MAXIMUM_DOCUMENT,
    Descriptor,
    check_digest,
    parse_descriptors,
    parse_object,
)
from sampan.model.reference import Reference
from sampan.registry.client import RegistryClient
from sampan.registry.failures import NotFoundError, Refusal, explain_refusal

_INDEX = "application/vnd.oci.image.index.v1+json"
_COSIGN = {".sig": "signature", ".att": "attestation", ".sbom": "bill of materials"}


class Referrer(NamedTuple):
    """A document about an image.

    Attributes:
        digest: of its manifest.
        kind: its artifact type, or what cosign's tag says.
        size: bytes of the manifest.
        tag: under which it lies; empty when it has none.
    """

    digest: str
    kind: str
    size: int
    annotations: Mapping[str, str]
    tag: str = ""


def list_referrers(
    client: RegistryClient, repository: str, digest: str, kind: str = ""
) -> list[Referrer]:
    """The documents that refer to a manifest, or index.

    Args:
        client: of the registry.
        repository: that has both.
        digest: of the manifest.
        kind: only those of this artifact type; empty = all.

    Raises:
        RegistryError: the registry does not say.
        SourceError: its answer is malformed.
    """
    where = f"the referrers of {digest[:19]}"
    check_digest(digest, where)
    found = ask_referrers(client, repository, digest, kind)
    if found is None:
        found = _read_tag(client, repository, digest, where)
    # A registry need not filter.
    referrers = [each for each in found if not kind or each.kind == kind]
    known = {each.digest for each in referrers}
    for ending, words in _COSIGN.items():
        tag = f"{digest.replace(':', '-')}{ending}"
        top = client.find_digest(Reference(client.registry, repository, tag))
        if top and top not in known and kind in ("", words):
            referrers.append(Referrer(top, words, 0, {}, tag))
    return referrers


def ask_referrers(
    client: RegistryClient, repository: str, digest: str, kind: str = ""
) -> list[Referrer] | None:
    """As ``list_referrers``, from the referrers' own address alone; None where there is none.

    Raises:
        RegistryError: the registry does not say.
        SourceError: its answer is malformed.
    """
    where = f"the referrers of {digest[:19]}"
    query = f"?artifactType={quote(kind, safe='')}" if kind else ""
    answer = client.server.ask(
        repository,
        f"referrers/{digest}{query}",
        headers={"Accept": _INDEX},
        limit=MAXIMUM_DOCUMENT,
    )
    # 400 and 405 are those of registries that have never heard of it.
    if answer.status in (400, 404, 405, 501):
        return None
    if answer.status != 200:
        refusal = Refusal(answer.status, answer.headers, answer.body, "GET", answer.url)
        raise explain_refusal(
            refusal, registry=client.registry, repository=repository, what=f"list {where}"
        )
    if answer.headers.get("content-type", "").partition(";")[0].strip() != _INDEX:
        return None
    return _read(parse_object(answer.body, where), where)


def _read_tag(client: RegistryClient, repository: str, digest: str, where: str) -> list[Referrer]:
    try:
        document = client.get_manifest(
            Reference(client.registry, repository, digest.replace(":", "-"))
        )
    except NotFoundError:
        return []
    if document.media_type != _INDEX:
        return []
    return _read(parse_object(document.content, where), where)


def _read(document: Mapping[str, Any], where: str) -> list[Referrer]:
    descriptors = parse_descriptors(document, "manifests", where)
    return [
        _referrer(entry, raw) for entry, raw in zip(descriptors, document["manifests"], strict=True)
    ]


def _referrer(entry: Descriptor, raw: Mapping[str, Any]) -> Referrer:
    kind = raw.get("artifactType")
    return Referrer(
        entry.digest,
        kind if isinstance(kind, str) and kind else entry.media_type,
        entry.size,
        entry.annotations,
    )
