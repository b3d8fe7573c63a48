"""The part of Go's templates that scripts use with docker's ``--format``: fields, json, index."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sampan.errors import UsageError


def render_template(
    template: str,
    document: Mapping[str, Any],
    lookups: Mapping[str, Callable[[str], str]] | None = None,
) -> str:
    """Replace each ``{{.A.B}}``, ``{{json .A.B}}``, ``{{index .A "key"}}`` by what is there.

    Args:
        template: the user's text.
        document: what its members stand for.
        lookups: by NAME what answers ``{{.NAME "key"}}``.

    Raises:
        UsageError: another action, or a member that is not there.
    """
    text, *actions = template.split("{{")
    for action in actions:
        expression, end, rest = action.partition("}}")
        if not end:
            raise _refusal(template, "'{{' without '}}'")
        text += _evaluate(template, expression.strip(), document, lookups or {}) + rest
    return text


def _evaluate(
    template: str,
    expression: str,
    document: Mapping[str, Any],
    lookups: Mapping[str, Callable[[str], str]],
) -> str:
    before, quote, after = expression.partition('"')
    key = after.removesuffix('"') if quote else None
    words = before.split()
    verb = words.pop(0) if words[:1] in (["json"], ["index"]) else ""
    is_json = verb == "json"
    if key is not None and not verb and len(words) == 1 and words[0].lstrip(".") in lookups:
        return lookups[words[0].lstrip(".")](key)
    if len(words) != 1 or not words[0].startswith(".") or (verb == "index") != (key is not None):
        raise _refusal(template, f"{{{{{expression}}}}} is not understood")
    value = _member(template, words[0], document)
    if key is not None:
        # As in Go, a key that a map lacks is empty text.
        value = value.get(key, "") if isinstance(value, Mapping) else ""
    # Go prints true and <nil>, and a string without its quotes.
    if is_json or isinstance(value, (dict, list, bool)):
        return json.dumps(value)
    return "<nil>" if value is None else str(value)


def _member(template: str, path: str, document: Mapping[str, Any]) -> Any:
    value: Any = document
    for name in filter(None, path.split(".")):
        if not isinstance(value, Mapping) or name not in value:
            there = ", ".join(value) if isinstance(value, Mapping) else ""
            raise _refusal(template, f"there is no {name}; there is: {there or 'no member'}")
        value = value[name]
    return value


def _refusal(template: str, evidence: str) -> UsageError:
    return UsageError(
        f"cannot use --format {template!r}",
        evidence=evidence,
        remedy='{{.Member.Member}}, {{json .Member}} and {{index .Member "key"}} are known',
    )
