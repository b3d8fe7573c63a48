"""Who runs in the container: USER of the image or ``-u``, by the image's passwd and group files.

Pure; the files' content comes from the image's facts. Rules: docker run(1) --user, image-spec
config.md (User), and the libraries docker and podman share for it: a name is looked up before a
number, a number needs no entry, and supplementary groups count only when no group was named.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sampan.errors import SampanError

_HIGHEST_ID = 2**31 - 1
_MOST_DIGITS = 20


class UserNotFoundError(SampanError):
    """The image knows no such user or group."""

    id = "user-not-found"


class User(NamedTuple):
    """Ids of the container's process; ``home`` is ``/`` when the image does not say."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


def resolve_user(text: str, passwd: str, group: str) -> User:
    """The ids that ``USER``, ``UID``, ``USER:GROUP`` or ``UID:GID`` means; empty is root.

    Raises:
        UserNotFoundError: a name that is not in the image, or a number out of range.
    """
    user_word, _, group_word = text.partition(":")
    entry = _find_user(user_word or "0", passwd)
    if entry is not None:
        name, uid, gid, home = entry
    else:
        name, uid, gid, home = "", _parse_id(user_word, "user", passwd), 0, "/"
    if group_word:
        return User(uid, _find_gid(group_word, group), (), home)
    members = tuple(
        int(fields[2])
        for fields in _records(group, 4)
        if name and name in fields[3].split(",") and int(fields[2]) != gid
    )
    return User(uid, gid, members, home)


def _find_user(word: str, passwd: str) -> tuple[str, int, int, str] | None:
    by_number = None
    for fields in _records(passwd, 7):
        if not _is_id(fields[3]):
            continue
        entry = fields[0], int(fields[2]), int(fields[3]), fields[5] or "/"
        if fields[0] == word:
            return entry
        if fields[2] == word and by_number is None:
            by_number = entry
    return by_number


def _find_gid(word: str, group: str) -> int:
    for fields in _records(group, 3):
        if fields[0] == word:
            return int(fields[2])
    return _parse_id(word, "group", group)


def _parse_id(word: str, what: str, listing: str) -> int:
    if word == "":
        return 0
    if _is_id(word):
        return int(word)
    names = [fields[0] for fields in _records(listing, 3)]
    known = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    raise UserNotFoundError(
        f"the image has no {what} {word!r}",
        evidence=f"its /etc/{'passwd' if what == 'user' else 'group'} lists: {known or 'nobody'}",
        remedy="give a number, e.g. -u 1000:1000",
    )


def _records(text: str, length: int) -> Iterator[list[str]]:
    """The lines with at least ``length`` fields and an id as the third."""
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) >= length and _is_id(fields[2]):
            yield fields


def _is_id(word: str) -> bool:
    """Whether it is a number that can be an id.

    Some greater ones mean "leave it as it is" to the kernel, which would keep the process root;
    and ``int`` refuses thousands of digits.
    """
    return (
        word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS and int(word) <= _HIGHEST_ID
    )
