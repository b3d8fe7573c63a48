"""Which hook program a document names, and which of the jobs it is to do, by nvidia-ctk's names."""

from collections.abc import Sequence
from typing import NamedTuple

from sampan.errors import UsageError

LINKS, CACHE, COMPAT, PARAMS, PROFILE = JOBS = (
    "create-symlinks", "update-ldcache", "enable-cuda-compat", "disable-device-node-modification",
    "update-application-profile",
)  # fmt: skip
"""What hooks do, by nvidia-ctk's names, which --disable-hook and --enable-hook take."""
WITHOUT_EFFECT: tuple[str, ...] = ("chmod", "noop")


class HookChoice(NamedTuple):
    """Which hook program the document names.

    Attributes:
        program: absolute path on the host; empty = no hooks.
        nvidia: whether it is called in the way of nvidia-cdi-hook.
        disabled: of JOBS: what is left away.
        compat_root: container directory of forward-compatibility libraries on a Jetson Orin; empty =
            the usual one.
        ldconfig: the host's ldconfig for NVIDIA's hook; empty = where it looks itself.
    """

    program: str = ""
    nvidia: bool = False
    disabled: tuple[str, ...] = ()
    ldconfig: str = ""
    compat_root: str = ""


def choose_jobs(disabled: Sequence[str], enabled: Sequence[str]) -> tuple[str, ...]:
    """Names of --disable-hook without those of --enable-hook; ``all`` stands for every job.

    Raises:
        UsageError: a name is no job of a hook.
    """
    for name in (*disabled, *enabled):
        if name not in (*JOBS, *WITHOUT_EFFECT, "all"):
            raise UsageError(
                f"no hook is called {name!r}", remedy=f"choose from: all, {', '.join(JOBS)}"
            )
    off = JOBS if "all" in disabled else tuple(name for name in JOBS if name in disabled)
    return tuple(name for name in off if name not in enabled and "all" not in enabled)


def makes_loader_cache(choice: HookChoice) -> bool:
    """Whether the document's hook tells the container's loader where the libraries are."""
    return bool(choice.program) and CACHE not in choice.disabled
