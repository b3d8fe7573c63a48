"""How a catalogue's answer becomes a document: a JSON object, whatever its content type says."""

import json
from typing import Any

from sampan.registry.failures import RegistryError, plain_url
from sampan.registry.transport import Answer


def read_answer(answer: Answer, whose: str) -> dict[str, Any]:
    """The object that was answered.

    Args:
        answer: with a body. NGC's JSON came as text more than once.
        whose: catalogue it is, as users call it.

    Raises:
        RegistryError: it is something else than a JSON object.
    """
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RegistryError(
            f"{whose}'s answer cannot be read",
            evidence=f"{plain_url(answer.url)} gave no JSON object",
            remedy=f"try again later; behind a proxy: it may have answered in {whose}'s place",
        )
    return document
