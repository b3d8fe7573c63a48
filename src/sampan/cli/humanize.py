"""Sizes and ages as docker prints them, and as users type them for the store."""

from sampan.errors import UsageError

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
_FACTORS = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6,
    "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def human_size(size: int) -> str:
    """Bytes in decimal units with three significant digits, e.g. ``1.19GB``."""
    value = float(size)
    unit = 0
    while value >= 1000 and unit < len(_SIZES) - 1:
        value /= 1000
        unit += 1
    return f"{value:.3g}{_SIZES[unit]}" if value < 999.5 else f"{value:.0f}{_SIZES[unit]}"


def human_age(seconds: float) -> str:
    """A span in docker's words, e.g. ``3 days ago``."""
    for limit, divisor, word in (
        (120, 1, "second"),
        (120 * 60, 60, "minute"),
        (48 * 3600, 3600, "hour"),
        (14 * 86400, 86400, "day"),
        (60 * 86400, 7 * 86400, "week"),
        (730 * 86400, 30 * 86400, "month"),
    ):
        if seconds < limit:
            number = max(0, int(seconds // divisor))
            return f"{number} {word}{'' if number == 1 else 's'} ago"
    return f"{int(seconds // (365 * 86400))} years ago"


def parse_bytes(option: str, text: str) -> int:
    """Bytes from ``500M``, ``20GB`` (powers of ten, as sizes are printed) or ``20GiB``.

    Raises:
        UsageError: another form.
    """
    number, unit = _split(text)
    factor = _FACTORS.get(unit.lower())
    if number is None or factor is None:
        raise UsageError(f"{option}: {text!r} is not a size", remedy="e.g. 500MB, 20GB, 20GiB")
    return int(number * factor)


def parse_age(option: str, text: str) -> float:
    """Seconds from ``90s``, ``30m``, ``12h``, ``30d``, ``8w``.

    Raises:
        UsageError: another form.
    """
    number, unit = _split(text)
    factor = _SECONDS.get(unit)
    if number is None or factor is None:
        raise UsageError(f"{option}: {text!r} is not a time", remedy="e.g. 12h, 30d, 8w")
    return number * factor


def _split(text: str) -> tuple[float | None, str]:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if not digits or not digits.replace(".", "", 1).isdecimal():
        return None, text
    return float(digits), text[len(digits) :]
