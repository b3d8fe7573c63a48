"""Where the drop-ins keep what they have found out, so that no other user can write it.

``/run/sampan/dropin`` of the system's root, else below the caller's own run-time or cache directory.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_DIRECTORY = "/run/sampan/dropin"
_WHOLE_RANGE = ["0", "0", "4294967295"]


def in_user_namespace() -> bool:
    """Whether this process is root, or somebody, in a user namespace only."""
    try:
        with open("/proc/self/uid_map") as stream:
            return stream.readline().split() != _WHOLE_RANGE
    except OSError:
        return False


def locate_directory(environment: Mapping[str, str], *, system: bool) -> str:
    """The directory of plans, made where it misses; empty when there is none to be trusted.

    Args:
        environment: of the engine that started us.
        system: whether this is the system's root.
    """
    if system:
        place = SYSTEM_DIRECTORY
    else:
        home = environment.get("XDG_RUNTIME_DIR", "") or environment.get("XDG_CACHE_HOME", "")
        if not home.startswith("/"):
            home = environment.get("HOME", "")
            home = f"{home}/.cache" if home.startswith("/") else ""
        if not home:
            return ""
        place = f"{home}/sampan/dropin"
    try:
        os.makedirs(place, 0o700, exist_ok=True)
        for directory in (os.path.dirname(place), place):
            status = os.lstat(directory)
            ours = status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode)
            if not ours or status.st_mode & 0o022:
                return ""
    except OSError:
        return ""
    return place
