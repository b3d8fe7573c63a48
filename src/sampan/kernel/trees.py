"""Deleting directory trees on the start path's way out, where ``shutil`` would cost an import."""

import contextlib
import os
import stat


def remove_tree(path: str, *, keep_root: bool = False) -> None:
    """``rm -rf`` that follows no link, needs no recursion, and lets no mode stand in the way.

    What cannot be deleted stays; nothing is raised.

    Args:
        path: a directory.
        keep_root: delete only what is below it.
    """
    directories = [path]
    for directory in directories:
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
            for entry in os.scandir(directory):
                if stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode):
                    directories.append(entry.path)
                else:
                    os.unlink(entry.path)
    for directory in reversed(directories[1:] if keep_root else directories):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
