"""Listing and reading below a driver root without waiting and without end, whatever lies there."""

import os
import stat
from itertools import islice

MAXIMUM_NAMES = 65536


def list_names(path: str) -> list[str]:
    """Names in a directory, sorted, at most MAXIMUM_NAMES; empty when it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in islice(entries, MAXIMUM_NAMES))
    except (OSError, ValueError):
        return []


def list_matching(path: str, pattern: str) -> list[str]:
    """Names in a directory of the form ``head*``; a pattern without a star stands for itself."""
    head, star, _ = pattern.partition("*")
    if not star:
        return [pattern]
    return [name for name in list_names(path) if name.startswith(head)]


def read_regular(path: str, limit: int) -> bytes | None:
    """Content of a regular file of at most ``limit`` bytes; None for everything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # Opening a FIFO wakes its writer, opening a device may do anything.
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        content = bytearray()
        while len(content) <= limit:
            part = os.read(descriptor, limit + 1 - len(content))
            if not part:
                return bytes(content)
            content += part
        return None
    except OSError:
        return None
    finally:
        os.close(descriptor)
