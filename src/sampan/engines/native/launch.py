"""From a computed launch to a running container: clone, id maps, the wait, the exit code.

Three processes of ours take part (design.md, engines). The *supervisor* is the one that calls
``start``: the command itself in the foreground, the watcher of a detached container. *pid 1* is
its clone in new namespaces; it mounts the image (``pid1.py``) and execs the ``Program``: crun in
the foreground, conmon when detached. The *reaper* removes what is left when the supervisor is
killed (``reaper.py``). Nothing here looks at images or options: ``engines/prepare.py`` did.
"""

from collections.abc import Callable
from typing import NamedTuple


class Inside(NamedTuple):
    """What the program that pid 1 becomes must know; paths are those of pid 1's mount namespace.

    Attributes:
        runtime: absolute path of crun or runc, with ``runtime_options`` its global options
            (--root, --log, --cgroup-manager …), to stand before the subcommand.
        bundle: directory of config.json. ``crun_root`` is the value of --root.
        terminal, interactive: as the user asked with -t and -i.
    """

    container_id: str
    runtime: str
    runtime_options: tuple[str, ...]
    bundle: str
    crun_root: str
    terminal: bool
    interactive: bool


Program = Callable[[Inside], list[str]]
"""Gives the argument list that pid 1 execs (argv[0] is an absolute path).

It is called in pid 1, after every mount, and may prepare pid 1's descriptors and environment: what
it leaves open and inheritable, the program gets.
"""


def crun_in_foreground(inside: Inside) -> list[str]:
    """Become ``crun run``: terminal, signals and exit code are then the container's own."""
    return [
        inside.runtime,
        *inside.runtime_options,
        "run",
        "--bundle",
        inside.bundle,
        inside.container_id,
    ]
