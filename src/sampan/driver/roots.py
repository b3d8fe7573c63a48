"""Paths below a driver root: every link, absolute ones too, resolves inside the root.

A driver root is a directory that stands for ``/`` of the system the driver was installed into: the
host itself, a driver container's tree, a test's directory. Debian's alternatives are absolute
links, so ``os.path.realpath`` would leave the root through them.
"""

import os

MAXIMUM_LINKS = 40


class Root:
    """A directory standing for ``/``; *inner* paths are as seen from inside it."""

    def __init__(self, path: str) -> None:
        real = os.path.realpath(path)
        self.path = real
        self._prefix = "" if real == "/" else real
        self._directories: dict[str, str] = {"/": "/", "": "/"}

    def host_path(self, inner: str) -> str:
        """The host's path of an inner absolute path."""
        return self._prefix + inner if inner != "/" else self.path

    def inner_path(self, host_path: str) -> str:
        """The inner path of one that ``host_path`` gave."""
        return host_path.removeprefix(self._prefix) or "/"

    def resolve(self, inner: str) -> str:
        """The inner path with every link followed inside the root.

        Parts that do not exist stay as they are written, as realpath(1) -m does. A chain of more
        than 40 links ends where it stands, so that opening it fails as it would for everybody.
        """
        head, _, tail = inner.rstrip("/").rpartition("/")
        return self._walk(self._directory(head), [tail], 0)

    def _directory(self, inner: str) -> str:
        known = self._directories.get(inner)
        if known is None:
            known = self._directories[inner] = self._walk("/", inner.split("/"), 0)
        return known

    def _walk(self, start: str, parts: list[str], links: int) -> str:
        here = start
        waiting = parts[::-1]
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = here.rpartition("/")[0] or "/"
                continue
            there = f"/{part}" if here == "/" else f"{here}/{part}"
            try:
                target = os.readlink(self.host_path(there))
            except (OSError, ValueError):
                # No link, or a name that no file can have: a zero byte.
                here = there
                continue
            links += 1
            if links > MAXIMUM_LINKS:
                return there
            if target.startswith("/"):
                here = "/"
            waiting.extend(target.split("/")[::-1])
        return here
