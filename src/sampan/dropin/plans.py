"""Plans that were made for a wish, one small file each, and whether they still hold.

They lie where no other user can write: ``/run/sampan/dropin`` of the system's root, else below the
caller's own run-time or cache directory. A plan is believed when the whole wish is the same and the
marks of everything that was looked at are, too; otherwise a new one is asked of the planner, which
is a process with all of Sampan in it.
"""

from __future__ import annotations

import os
import stat
import zlib

from sampan.dropin.quick_json import decode, encode
from sampan.kernel.freshness import take_marks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SYSTEM_DIRECTORY = "/run/sampan/dropin"
MAXIMUM_BYTES = 8 << 20
FORMAT = 1
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


def locate_plan(directory: str, key: bytes) -> str:
    """Path of the plan's file; empty without a directory."""
    return f"{directory}/plan-{zlib.crc32(key):08x}.json" if directory else ""


def make_key(wish: dict[str, Any], settings: dict[str, Any], program: str) -> bytes:
    """What a plan depends on besides the host: the wish, the settings, who made the plan."""
    return encode([FORMAT, program, wish, settings])


def load_plan(path: str, key: bytes) -> dict[str, Any] | None:
    """The plan in a file if it is for this key and its marks hold."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAXIMUM_BYTES:
            return None
        content = os.read(descriptor, status.st_size)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    try:
        document: dict[str, Any] = decode(content)
        if document["key"] != key.decode() or document["marks"] != take_marks(document["watches"]):
            return None
        plan: dict[str, Any] = document["plan"]
        return plan
    except (ValueError, LookupError, TypeError):
        return None
