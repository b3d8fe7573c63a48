"""The part of Go's templates that scripts use with ``docker inspect -f``: fields, and json."""

import json
from collections.abc import Mapping
from typing import Any

from sampan.errors import UsageError


def render_template(template: str, document: Mapping[str, Any]) -> str:
    """Replace each ``{{.A.B}}`` and ``{{json .A.B}}`` by what the document has there.

    Raises:
        UsageError: another action, or a member that is not there.
    """
    text, *actions = template.split("{{")
    for action in actions:
        expression, end, rest = action.partition("}}")
        if not end:
            raise _refusal(template, "'{{' without '}}'")
        text += _evaluate(template, expression.strip(), document) + rest
    return text


def _evaluate(template: str, expression: str, document: Mapping[str, Any]) -> str:
    words = expression.split()
    is_json = words[:1] == ["json"]
    path = words[1:] if is_json else words
    if len(path) != 1 or not path[0].startswith("."):
        raise _refusal(template, f"{{{{{expression}}}}} is not understood")
    value: Any = document
    for name in filter(None, path[0].split(".")):
        if not isinstance(value, Mapping) or name not in value:
            there = ", ".join(value) if isinstance(value, Mapping) else "no members"
            raise _refusal(template, f"there is no {name}; there is: {there}")
        value = value[name]
    # Go prints true and <nil>, and a string without its quotes.
    if is_json or isinstance(value, (dict, list, bool)):
        return json.dumps(value)
    return "<nil>" if value is None else str(value)


def _refusal(template: str, evidence: str) -> UsageError:
    return UsageError(
        f"cannot use --format {template!r}",
        evidence=evidence,
        remedy="{{.Member.Member}} and {{json .Member}} are known; without --format comes all",
    )
