"""Resource limits of the container's process: --ulimit, and what GPU work needs by default.

Rules: getrlimit(2); runtime-spec config.md, process.rlimits. Without CAP_SYS_RESOURCE a hard limit
can only be lowered; the runtime would fail on such a wish, so it is cut down here, with a warning
when the user asked for it.
"""

import resource
from typing import Any

UNLIMITED = 2**64 - 1
_PINNED_MEMORY = "memlock"


def plan_rlimits(
    ulimits: tuple[tuple[str, int, int], ...], *, may_raise: bool
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """``process.rlimits`` and warnings.

    Args:
        ulimits: (docker's name, soft, hard), -1 = unlimited.
        may_raise: whether hard limits can be raised.
    """
    # Pinned host memory is what GPU copies and InfiniBand work with; a core file of a process
    # that maps a GPU's memory is huge and useless.
    wanted = {_PINNED_MEMORY: (-1, -1), "core": (0, 0)}
    asked = {name: (soft, hard) for name, soft, hard in ulimits}
    entries, warnings = [], []
    for name, (soft, hard) in {**wanted, **asked}.items():
        ceiling = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        given = (soft, hard) if may_raise else (_least(soft, ceiling), _least(hard, ceiling))
        if given != (soft, hard) and name in asked:
            warnings.append(
                f"--ulimit {name}={_text(soft)}:{_text(hard)} is lowered to "
                f"{_text(given[0])}:{_text(given[1])}: the hard limit here is {_text(ceiling)} and "
                "raising it needs CAP_SYS_RESOURCE (ulimits of this login: limits.conf(5))"
            )
        entries.append(
            {"type": f"RLIMIT_{name.upper()}", "soft": _number(given[0]), "hard": _number(given[1])}
        )
    return entries, tuple(warnings)


def _least(value: int, ceiling: int) -> int:
    if ceiling < 0:
        return value
    return ceiling if value < 0 else min(value, ceiling)


def _number(value: int) -> int:
    return UNLIMITED if value < 0 else value


def _text(value: int) -> str:
    return "unlimited" if value < 0 else str(value)
