"""Pulling for commands: policies, the plan as one line, what is said while it works.

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
    from sampan.engines.pull import PullPlan

POLICIES = ("missing", "always", "never")

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
    """

    def fetch() -> None:
        pull(name, platform=platform, gpus=gpus, variables=variables or {}, roots=roots)

    if policy == "always" and _is_name(name):
        fetch()
        return action()
    try:
        return action()
    except ImageNotFoundError as error:
        if policy == "never" or not _is_name(name):
            raise
        hint = f" (did you mean {error.near}?)" if error.near else ""
        print(f"no image {name} in the store{hint}: pulling it", file=sys.stderr)
    fetch()
    return action()


def pull(
    name: str,
    *,
    platform: str = "",
    gpus: str | None = None,
    variables: Mapping[str, str] | None = None,
    quiet: bool = False,
    roots: tuple[str, str] = ("", ""),
) -> StoredImage:
    """Pull an image and show how it goes on standard error."""
    import signal

    from sampan.cli.import_progress import choose_progress
    from sampan.driver.chosen_roots import chosen_inventory
    from sampan.engines.pull import PullOptions, pull_image
    from sampan.images.store_layout import locate_store
    from sampan.model.image import parse_platform

    # A job's end or a timeout comes as SIGTERM: unwind, so that no half-written gigabytes stay.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with choose_progress(quiet=quiet, terminal=sys.stderr.isatty()) as tell:
            return pull_image(
                name,
                store=locate_store(os.environ),
                environment=os.environ,
                options=PullOptions(
                    platform=parse_platform(platform) if platform else None,
                    gpus=gpus,
                    user_environment=variables or {},
                    find_inventory=lambda: chosen_inventory(*roots),
                ),
                planned=(lambda _: None) if quiet else _print_plan,
                progress=tell,
            )
    finally:
        signal.signal(signal.SIGTERM, before)


def describe_plan(plan: "PullPlan") -> str:
    """A pull in one line."""
    from sampan.cli.humanize import human_size
    from sampan.cli.render import printable

    head = printable(f"{plan.reference.familiar} ({plan.remote.platform})")
    if plan.is_linked:
        return f"{head}: up to date"
    layers = plan.layers
    total = len(layers.found) + len(layers.missing)
    here = f", {human_size(layers.present_bytes)} are here" if layers.present_bytes else ""
    return (
        f"{head}: {len(layers.missing)} of {total} layers to fetch, "
        f"{human_size(layers.fetch_bytes)}{here}; the store has room for "
        f"{human_size(plan.free_bytes)}"
    )


def _print_plan(plan: "PullPlan") -> None:
    print(describe_plan(plan), file=sys.stderr)


def _is_name(name: str) -> bool:
    """Whether a registry can be asked for it; an id is no name."""
    try:
        parse_reference(name)
    except ImageNameError:
        return False
    return True
