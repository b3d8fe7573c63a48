"""Pulling for commands, by docker's and podman's policies.

``sampan pull`` and, for a missing image, ``sampan run`` and ``explain`` come here. What is needed of
the registry's room is imported when something is pulled: the start path stays free of it.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from sampan.images.store import ImageNotFoundError, StoredImage
from sampan.model.reference import ImageNameError, parse_reference

if TYPE_CHECKING:
    from sampan.registry.settings import Settings

POLICIES = ("missing", "always", "newer", "never")

Result = TypeVar("Result")


def add_pull_option(add: Callable[..., argparse.Action]) -> None:
    """Add ``--pull`` in docker's words."""
    add("--pull", choices=POLICIES, default="missing", metavar="|".join(POLICIES), help="when to ask the registry for the image (missing)")  # fmt: skip


def with_image(
    action: Callable[[], Result],
    name: str,
    *,
    policy: str,
    platform: str = "",
    gpus: str | None = None,
    variables: Mapping[str, str] | None = None,
    roots: tuple[str, str] = ("", ""),
    settings: "Callable[[], Settings] | None" = None,
) -> Result:
    """Do something with an image of the store, after pulling it where the policy wants that.

    Args:
        action: raises ImageNotFoundError before it does anything when the image is missing.
        name: of the image.
        policy: one of POLICIES.
        platform: text of ``--platform``; empty = the host's.
        gpus: text of ``--gpus``: the driver is held against the image before it is fetched.
        variables: ``-e`` of the container to come.
        roots: driver root and dev root that the driver is looked for in, as written.
        settings: gives those of the registry client, when one is asked; None = the usual ones.
    """

    def fetch(how: str) -> None:
        pull(
            name,
            policy=how,
            platform=platform,
            gpus=gpus,
            variables=variables or {},
            settings=settings() if settings else None,
            roots=roots,
        )

    if policy in ("always", "newer") and _is_name(name):
        fetch(policy)
        return action()
    try:
        return action()
    except ImageNameError:
        _refuse_file(name)
        raise
    except ImageNotFoundError as error:
        _refuse_file(name)
        if policy == "never" or not _is_name(name):
            raise
        hint = f" (did you mean {error.near}?)" if error.near else ""
        print(f"no image {name} in the store{hint}: pulling it", file=sys.stderr)
    fetch("always")
    return action()


def pull(
    name: str,
    *,
    policy: str = "always",
    platform: str = "",
    gpus: str | None = None,
    variables: Mapping[str, str] | None = None,
    settings: "Settings | None" = None,
    form: str = "",
    roots: tuple[str, str] = ("", ""),
) -> StoredImage:
    """Pull an image as the policy wants it, and show how it goes.

    Args:
        name: of the image.
        policy: one of POLICIES.
        platform: text of ``--platform``; empty = the host's.
        gpus: text of ``--gpus``; None = requirements are warnings.
        variables: ``-e`` of the container to come.
        settings: of the registry client; None = the usual ones.
        form: as of ``show_pull``; empty = what fits standard error.
        roots: driver root and dev root, as of ``with_image``.
    """
    import signal

    from sampan.cli.pull_progress import show_pull
    from sampan.driver.chosen_roots import chosen_inventory
    from sampan.engines.pull import PullOptions, pull_by_policy
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform
    from sampan.registry.settings import DEFAULT_SETTINGS

    # A job's end or a timeout comes as SIGTERM: unwind, so that no half-written gigabytes stay.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with show_pull(form or ("live" if sys.stderr.isatty() else "lines")) as show:
            return pull_by_policy(
                name,
                policy,
                store=locate_store(os.environ),
                environment=os.environ,
                options=PullOptions(
                    platform=parse_platform(platform) if platform else None,
                    gpus=gpus,
                    user_environment=variables or {},
                    settings=settings or DEFAULT_SETTINGS,
                    find_inventory=lambda: chosen_inventory(*roots),
                ),
                planned=show.planned,
                progress=show.tell,
            )
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse_file(name: str) -> None:
    """Say so when a path stands where an image's name should, as other engines take it.

    Raises:
        UsageError: it is a file or directory here, and no image of the store.
    """
    if os.path.isfile(name) or (name[:1] in ("/", ".") and os.path.isdir(name)):
        from sampan.errors import UsageError

        kind = "directory" if os.path.isdir(name) else "file"
        raise UsageError(
            f"{name} is a {kind}, not the name of an image",
            remedy=f"sampan import {name} NAME; then use NAME",
        )


def _is_name(name: str) -> bool:
    """Whether a registry can be asked for it; an id is no name."""
    try:
        parse_reference(name)
    except ImageNameError:
        return False
    return True
