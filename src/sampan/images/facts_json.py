"""ImageFacts as a JSON file beside the image. Read at every container start: few imports.

Paths that are not UTF-8 survive as lone surrogates (PEP 383), the loader cache as base64.
"""

import binascii
import json

from sampan.errors import SampanError
from sampan.model.facts import FACTS_VERSION, CudaCompat, ImageFacts


class FactsError(SampanError):
    """The facts of an image cannot be used: damaged, or written by another version."""

    id = "facts"


_COMPATS = ("cuda_compat", "cuda_compat_orin")
_REMEDY = "import the image again: sampan import SOURCE NAME"


def dump_facts(facts: ImageFacts) -> bytes:
    """The file's content; the same facts give the same bytes."""
    document = facts._asdict()
    document["version"] = FACTS_VERSION
    document["loader_cache"] = binascii.b2a_base64(facts.loader_cache, newline=False).decode()
    for name in _COMPATS:
        if document[name] is not None:
            document[name] = document[name]._asdict()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def load_facts(data: bytes) -> ImageFacts:
    """Facts from a file's content.

    Raises:
        FactsError: it is no such file, or one of another version.
    """
    try:
        document = json.loads(data)
        version = document.pop("version")
        if version != FACTS_VERSION:
            raise FactsError(
                "the image was imported by another version of Sampan",
                evidence=f"its facts have version {version}, this program reads {FACTS_VERSION}",
                remedy=_REMEDY,
            )
        document["loader_cache"] = binascii.a2b_base64(document["loader_cache"])
        for name in ("directories", "library_directories"):
            document[name] = tuple(document[name])
        for name in _COMPATS:
            compat = document.get(name)
            if compat is not None:
                compat["names"] = tuple(compat["names"])
                document[name] = CudaCompat(**compat)
        return ImageFacts(**document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FactsError(
            "the facts of an image are damaged",
            evidence=f"{type(error).__name__}: {error}",
            remedy=_REMEDY,
        ) from error
