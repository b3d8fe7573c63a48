"""Who besides root and the caller could change a file, or what it is called."""

import os
import stat


def who_may_change(path: str) -> str:
    """Which other user could change the file at ``path``; empty when nobody could.

    Its directories up to the root count, and those of the file that a link leads to. A directory
    where everybody may write counts as safe with the sticky bit, which keeps names to their owners.

    Raises:
        OSError: the path cannot be looked at.
    """
    friends = {0, os.geteuid()}
    for real in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):
        place = real
        while True:
            status = os.lstat(place)
            if status.st_uid not in friends:
                return f"{place} belongs to user {status.st_uid}"
            sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode) and not sticky:
                return f"{place} may be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
            if place == "/":
                break
            place = os.path.dirname(place)
    return ""
