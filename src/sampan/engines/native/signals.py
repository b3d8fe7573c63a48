"""Names and numbers of signals as ``kill -s`` and STOPSIGNAL write them."""

import signal

from sampan.errors import UsageError


def parse_signal(text: str) -> int:
    """The number of ``TERM``, ``SIGTERM``, ``15`` or ``RTMIN+3``.

    Raises:
        UsageError: there is no such signal.
    """
    name = text.strip().upper().removeprefix("SIG")
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    if base in ("RTMIN", "RTMAX") and (not sign or offset.isdigit()):
        distance = int(offset or 0) * (-1 if sign == "-" else 1)
        number = int(signal.SIGRTMIN if base == "RTMIN" else signal.SIGRTMAX) + distance
    elif name.isdigit():
        number = int(name)
    else:
        number = int(getattr(signal, f"SIG{name}", 0)) if name.isalnum() else 0
    if not 1 <= number <= signal.SIGRTMAX:
        raise UsageError(
            f"no signal {text!r}", remedy="a name or number that kill -l lists, e.g. TERM, HUP, 9"
        )
    return number
