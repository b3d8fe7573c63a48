"""Links below /dev, which the runtime makes anew as an empty tmpfs over whatever the layers hold.

They are laid down beside the root directory, and each directory of them is bind-mounted. Their
relative targets (``../card0``) then lead where they are seen.
"""

import os
from collections.abc import Iterable

from sampan.model.plan import ImportPlan, PlannedLink, PlannedMount

DEVICES = "/dev/"
OPTIONS: tuple[str, ...] = ("ro", "nosuid", "nodev", "noexec", "rbind", "rprivate")


def mount_device_links(plan: ImportPlan, beside: str) -> ImportPlan:
    """The plan with mounts in place of its links below /dev, which lie below ``beside``."""
    directories = dict.fromkeys(
        os.path.dirname(link.path) for link in plan.links if link.path.startswith(DEVICES)
    )
    if not directories:
        return plan
    return plan._replace(
        mounts=plan.mounts
        + tuple(PlannedMount(beside + path, path, OPTIONS) for path in directories),
        links=tuple(link for link in plan.links if not link.path.startswith(DEVICES)),
    )


def write_device_links(links: Iterable[PlannedLink], beside: str) -> None:
    """Lay the links down below ``beside``.

    Raises:
        OSError: they cannot be made.
    """
    for link in links:
        if link.path.startswith(DEVICES):
            os.makedirs(beside + os.path.dirname(link.path), 0o755, exist_ok=True)
            os.symlink(link.target, beside + link.path)
