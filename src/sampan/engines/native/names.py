"""Names for containers that the user did not name, and the grammar of names he may give."""

import os

from sampan.errors import UsageError

_KINDS = (
    "able", "amber", "brave", "brisk", "calm", "clear", "coral", "deft", "eager", "fair", "fleet",
    "frank", "gentle", "glad", "golden", "grand", "hardy", "honest", "jolly", "keen", "kind",
    "light", "lively", "lucid", "merry", "mild", "neat", "noble", "patient", "plain", "proud",
    "quick", "quiet", "rapid", "ready", "rosy", "serene", "sharp", "silver", "sleek", "smart",
    "solid", "spry", "steady", "stout", "sunny", "swift", "tidy", "trusty", "upbeat", "vivid",
    "warm", "willing", "wise", "witty", "zesty",
)  # fmt: skip
_VESSELS = (
    "barge", "bark", "brig", "canoe", "caravel", "carrack", "catboat", "clipper", "cog", "coracle",
    "corvette", "cutter", "dhow", "dinghy", "dory", "ferry", "frigate", "galleon", "galley",
    "gondola", "hulk", "junk", "kayak", "keelboat", "ketch", "launch", "lighter", "longship",
    "lugger", "packet", "pinnace", "proa", "punt", "raft", "schooner", "scow", "shallop", "sharpie",
    "skiff", "sloop", "smack", "snow", "tender", "trawler", "trimaran", "tug", "wherry", "xebec",
    "yawl", "yacht",
)  # fmt: skip
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")
_LONGEST = 128


def random_name() -> str:
    """A name such as ``swift_sloop_3f2a``: easy to say, and its own among 180 million."""
    kind, vessel, first, second = os.urandom(4)
    return (
        f"{_KINDS[kind % len(_KINDS)]}_{_VESSELS[vessel % len(_VESSELS)]}_{first:02x}{second:02x}"
    )


def verify_name(name: str) -> str:
    """Return ``name`` when it can name a container.

    Raises:
        UsageError: it holds other characters than docker's names may, or is too long.
    """
    if name and name[0] in _FIRST and _REST.issuperset(name) and 2 <= len(name) <= _LONGEST:
        return name
    raise UsageError(
        f"{name!r} cannot name a container",
        evidence=f"names are 2 to {_LONGEST} of a-z A-Z 0-9 _ . - and begin with a letter or digit",
        remedy="choose another --name, or none",
    )
