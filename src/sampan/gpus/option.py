"""The grammar of ``--gpus``, as docker's client reads it (cli opts/gpus.go).

One CSV record of ``key=value`` fields; a bare field is the count. Two forms more are taken:
``device=0,2`` without the inner quotes, which docker refuses and everybody types first, and the
count ``idle:N``, the N least used GPUs that nobody holds.
"""

from typing import NamedTuple

from sampan.errors import UsageError
from sampan.gpus.variables import is_number

EXAMPLES = (
    "--gpus all, --gpus 2, --gpus device=0,2, --gpus device=GPU-<uuid>, --gpus device=0:1 (MIG),"
    " --gpus idle:1"
)
_IDLE = "idle:"


class GpusOption(NamedTuple):
    """A parsed ``--gpus``.

    Attributes:
        gpu_count: -1 = all; None when devices are named, or idle ones are wanted.
        devices: identifiers in the user's words.
        capabilities: driver capabilities asked for; empty = not said.
        idle_count: how many of the least used ones; None when they are not asked for.
    """

    gpu_count: int | None
    devices: tuple[str, ...]
    capabilities: tuple[str, ...]
    idle_count: int | None = None


def parse_gpus_option(text: str) -> GpusOption:
    """Read the text after ``--gpus``.

    Raises:
        UsageError: unknown or repeated key, count and devices together, no number.
    """
    said: dict[str, str] = {}
    previous = ""
    for field in _split_csv(text):
        key, equals, value = field.partition("=")
        key = key.strip()
        if not equals and previous in ("device", "capabilities") and key:
            said[previous] += f",{key}"
            continue
        if not equals:
            key, value = "count", field
        if key not in ("driver", "count", "device", "capabilities", "options"):
            raise _refuse(
                text, f"unexpected key {key!r} (known: count, device, capabilities, driver)"
            )
        if key in said:
            raise _refuse(text, f"{key} is said twice")
        said[key] = value
        previous = key
    if said.get("driver", "") not in ("", "nvidia"):
        raise _refuse(text, f"driver {said['driver']!r} is not nvidia")
    devices = _split_list(said.get("device", ""))
    if "device" in said and not devices:
        raise _refuse(text, "device= names nothing")
    if devices and "count" in said:
        raise _refuse(text, "a count and device= exclude each other")
    capabilities = tuple(
        word for word in _split_list(said.get("capabilities", "")) if word not in ("gpu", "nvidia")
    )
    if devices:
        return GpusOption(None, devices, capabilities)
    count = said.get("count", "1").strip()
    if count.startswith(_IDLE):
        return GpusOption(None, (), capabilities, _parse_idle(text, count))
    return GpusOption(_parse_count(text, count), (), capabilities)


def _parse_idle(text: str, word: str) -> int:
    number = word.removeprefix(_IDLE)
    if not is_number(number) or int(number) < 1:
        raise _refuse(text, f"{word!r} is not idle: and a number of at least 1")
    return int(number)


def _parse_count(text: str, word: str) -> int:
    if word == "all":
        return -1
    try:
        number = int(word)
    except ValueError:
        raise _refuse(text, f"{word!r} is neither a number, 'all' nor 'idle:N'") from None
    if number < -1:
        raise _refuse(text, f"{number} is less than -1 (all)")
    return number


def _split_list(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _split_csv(text: str) -> list[str]:
    """One record of RFC 4180: fields may be quoted, a doubled quote stands for one."""
    fields: list[str] = []
    place = 0
    while True:
        if text.startswith('"', place):
            field, place = _read_quoted(text, place + 1)
        else:
            end = text.find(",", place)
            end = len(text) if end < 0 else end
            field, place = text[place:end], end
            if '"' in field:
                raise _refuse(text, "a quote stands inside a field")
        fields.append(field)
        if place == len(text):
            return fields
        if text[place] != ",":
            raise _refuse(text, "words follow a closing quote")
        place += 1


def _read_quoted(text: str, place: int) -> tuple[str, int]:
    field = ""
    while True:
        end = text.find('"', place)
        if end < 0:
            raise _refuse(text, "a quote is not closed")
        field += text[place:end]
        if not text.startswith('""', end):
            return field, end + 1
        field += '"'
        place = end + 2


def _refuse(text: str, why: str) -> UsageError:
    return UsageError(f"--gpus {text!r} cannot be read: {why}", remedy=f"for example {EXAMPLES}")
