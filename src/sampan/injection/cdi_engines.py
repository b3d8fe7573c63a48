"""Which versions of CDI the engines read (field note nvidia-container-toolkit, 5.2 and 5.4)."""

from typing import NamedTuple

from sampan.errors import UsageError
from sampan.injection.cdi_versions import version_key


class Reading(NamedTuple):
    """From this release on the engine reads documents up to ``version``."""

    release: tuple[int, ...]
    version: str


ENGINES: dict[str, tuple[Reading, ...]] = {
    "containerd": (Reading((1, 7), "0.6.0"), Reading((1, 7, 16), "0.7.0")),
    "cri-o": (Reading((1, 23), "0.5.0"), Reading((1, 30), "0.7.0")),
    "docker": (Reading((25,), "0.6.0"), Reading((26, 1), "0.7.0")),
    "podman": (Reading((4, 1), "0.3.0"), Reading((4, 3), "0.5.0"), Reading((5, 1), "0.7.0")),
}
"""Oldest first. What a release beyond the last row reads may be more; it is never less."""


def newest_readable(engine: str) -> tuple[str, bool]:
    """The newest version that ``podman-4.3`` or ``docker-26.1`` reads; False = it may read more.

    An engine's name alone means its oldest release that knows CDI.

    Raises:
        UsageError: an engine or release that nothing is known of.
    """
    name, _, release = engine.partition("-") if not engine.startswith("cri-o") else (
        "cri-o", "", engine.removeprefix("cri-o").lstrip("-"),
    )  # fmt: skip
    rows = ENGINES.get(name)
    numbers = release.split(".") if release else []
    if rows is None or not all(part.isascii() and part.isdecimal() for part in numbers):
        raise UsageError(
            f"unknown engine {engine!r}",
            remedy=f"choose from {', '.join(ENGINES)}, with a release: podman-4.3, docker-26.1",
        )
    number = tuple(map(int, numbers)) or rows[0].release
    fitting = [row for row in rows if row.release <= number]
    if not fitting:
        first = ".".join(map(str, rows[0].release))
        raise UsageError(
            f"{engine} does not know CDI", evidence=f"{name} has it since {first}",
            remedy=f"update {name}, or use sampan run",
        )  # fmt: skip
    return fitting[-1].version, fitting[-1] is not rows[-1]


def engine_problem(version: str, engine: str) -> str:
    """Why an engine does not read a document of a version; empty when it does."""
    newest, _ = newest_readable(engine)
    if version_key(version) <= version_key(newest):
        return ""
    return f"{engine} reads CDI up to {newest}, the document is {version}"
