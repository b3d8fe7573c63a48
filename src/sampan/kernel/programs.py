"""Finding programs on the start path, where ``shutil`` would cost more than the search."""

import os

_SYSTEM_DIRECTORIES = (
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
)


def find_executable(name: str, search: str | None = None) -> str:
    """Absolute path of a program on PATH or in the system directories; empty when nowhere.

    Args:
        name: file name, or an absolute path, which is only checked.
        search: text in PATH's form instead of PATH and the system directories.
    """
    if "/" in name:
        return name if _is_program(name) else ""
    if search is None:
        directories = [*os.environ.get("PATH", "").split(":"), *_SYSTEM_DIRECTORIES]
    else:
        directories = search.split(":")
    for directory in directories:
        # A relative entry would find programs in whatever directory the user happens to be.
        if directory.startswith("/") and _is_program(f"{directory}/{name}"):
            return f"{directory}/{name}"
    return ""


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
