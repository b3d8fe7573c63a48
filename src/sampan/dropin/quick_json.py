"""JSON through the interpreter's own C scanner and writer, without ``json``, which brings ``re``.

That is six milliseconds of each container's start. Where an interpreter has no such parts, or others,
``json`` does it. The order of members and all that is not understood are kept.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Scanning:
    """What the C scanner asks its context for (``json.decoder.JSONDecoder``)."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    @staticmethod
    def object_pairs_hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            # Of two readers one takes the first and one the last: crun and runc, for two.
            raise ValueError("a JSON object has the same member twice")
        return made


def decode(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or an object in it has a member twice.
        RecursionError: it is nested too deeply.
    """
    text = content.decode("utf-8").strip(" \t\r\n")
    try:
        from _json import make_scanner

        scanning: Any = _Scanning()
        scan = make_scanner(scanning)
    except (ImportError, TypeError, AttributeError):
        import json

        return json.loads(text, object_pairs_hook=_Scanning.object_pairs_hook)
    try:
        value, end = scan(text, 0)
    except StopIteration as stop:
        raise ValueError(f"no JSON value at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"more than one JSON value, the second at {end}")
    return value


def encode(value: Any) -> bytes:
    """A value as compact JSON, in ASCII.

    Raises:
        ValueError, TypeError: it is none of JSON's.
    """
    try:
        from _json import encode_basestring_ascii, make_encoder

        writer = make_encoder(
            None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False
        )
    except (ImportError, TypeError):
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    return "".join(writer(value, 0)).encode("ascii")


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is no value of JSON")
