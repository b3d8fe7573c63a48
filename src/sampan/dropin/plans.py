"""Plans that were made for a wish, one small file each, and whether they still hold.

A plan is believed when the whole wish is the same and the
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
    from typing import Any

MAXIMUM_BYTES = 8 << 20
MAXIMUM_KEY = 64 << 10
"""A longer one, with words that an image has made long, is not worth the memory that ``/run`` is."""
FORMAT = 1


def locate_plan(directory: str, key: bytes) -> str:
    """Path of the plan's file; empty without a directory, or for a key that is too long to be kept."""
    if not directory or len(key) > MAXIMUM_KEY:
        return ""
    return f"{directory}/plan-{zlib.crc32(key):08x}.json"


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
