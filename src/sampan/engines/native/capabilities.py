"""Linux capabilities of the container: docker's default set, --cap-add, --cap-drop. Pure.

Rules: capabilities(7) for names and numbers, docker run(1) for the default set and for ALL.
"""

from sampan.errors import UsageError

NAMES: tuple[str, ...] = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""By number: position 0 is CAP_CHOWN."""

DEFAULT: frozenset[str] = frozenset(
    (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
    )
)  # fmt: skip


def choose_capabilities(
    add: tuple[str, ...], drop: tuple[str, ...], available: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The capabilities to give and those asked for by name that this host cannot give, both sorted.

    Args:
        add: words of --cap-add, with or without ``CAP_``, any case; ``ALL``.
        drop: words of --cap-drop. As with docker, what is added by name survives ``--cap-drop ALL``
            and what is dropped by name does not survive ``--cap-add ALL``.
        available: names that our own process could pass on.

    Raises:
        UsageError: an unknown name.
    """
    added = {_parse(word) for word in add}
    dropped = {_parse(word) for word in drop}
    chosen = set(available) if "ALL" in added else set(DEFAULT)
    if "ALL" in dropped:
        chosen = set()
    chosen = (chosen | added) - dropped - {"ALL"}
    missing = (added - dropped - {"ALL"}) - available
    return tuple(sorted(chosen & available)), tuple(sorted(missing))


def number_of(name: str) -> int:
    """The number of a capability of NAMES."""
    return NAMES.index(name)


def _parse(word: str) -> str:
    name = word.upper().removeprefix("CAP_")
    if name != "ALL" and name not in NAMES:
        raise UsageError(
            f"no capability {word!r}", remedy=f"one of: ALL, {', '.join(sorted(NAMES))}"
        )
    return name
