"""Which mount a file system's device number is of, by ``/proc/self/mountinfo`` (proc_pid_mountinfo(5))."""

import os
from typing import NamedTuple


class MountLine(NamedTuple):
    """What a line says.

    Attributes:
        options: of the mount, then of the file system.
        kind: the file system's type.
        source: what is mounted: a block device's path, a server's, or the type once more.
    """

    options: tuple[str, ...]
    kind: str
    source: str


def find_mount(number: int) -> MountLine | None:
    """The first mount of a file system; None where none is shown.

    Args:
        number: ``st_dev`` of a file on it.
    """
    wanted = f"{os.major(number)}:{os.minor(number)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split()
                if fields[2] == wanted:
                    kind, *rest = fields[fields.index("-") + 1 :]
                    options = (*fields[5].split(","), *rest[-1].split(","))
                    # A mount may have an empty source, which leaves no field.
                    return MountLine(options, kind, rest[0] if rest[1:] else "")
    except (OSError, ValueError, IndexError):
        pass
    return None
