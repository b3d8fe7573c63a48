"""What an answer to a question for a manifest is: header and document must not contradict."""

from sampan.model.manifest import INDEX_TYPES, MANIFEST_TYPES, parse_object
from sampan.registry.failures import RegistryError, clean_text, plain_url
from sampan.registry.transport import Answer

ACCEPTED = ", ".join(sorted(MANIFEST_TYPES) + sorted(INDEX_TYPES))
"""``Accept`` of a question for a manifest or an index."""

_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)


def media_type_of(answer: Answer, where: str) -> str:
    """The type of a manifest or index.

    Args:
        answer: with a whole body.
        where: the name that was asked for, for messages.

    Raises:
        RegistryError: it is something else, or says of itself what the header does not.
    """
    header = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    document = parse_object(answer.body, f"the manifest of {where}")
    own = document.get("mediaType")
    if header in _SCHEMA_1 or document.get("schemaVersion") == 1:
        raise RegistryError(
            f"{where} is a docker schema 1 manifest",
            evidence="which registries gave up in 2017",
            remedy="pull and push the image once with a current docker, or choose another tag",
        )
    known = MANIFEST_TYPES | INDEX_TYPES
    if own is not None and header in known and own != header:
        raise RegistryError(
            f"the registry contradicts itself about {where}",
            evidence=f"Content-Type says {clean_text(header)}, the document {clean_text(str(own))}",
        )
    found = own if isinstance(own, str) else header
    if found not in known:
        raise RegistryError(
            f"{where} is not a container image",
            evidence=f"its media type is {clean_text(str(found)) or 'missing'}"
            + (f" ({plain_url(answer.url)})" if not found else ""),
            remedy="it may be a chart, a model or a web page: check registry and tag",
        )
    return found
