"""What ``sampan-runtime`` does before ``create`` and ``run``: a wish is read, a plan found, the bundle edited.

Nothing of the host is looked for here: the plan for the same words is read from one file while its
marks hold, else the planner makes it (``engines.foreign_container``, another process). On the start
path of every container with GPUs: no ``typing``, no ``json``, no ``re``.
"""

from __future__ import annotations

import os

from sampan.dropin.bundle import (
    BundleError,
    load_records,
    read_config,
    replace_config,
    write_records,
)
from sampan.dropin.edits import (
    apply_fragment,
    mark_of,
    read_mark,
    remove_edits,
    remove_old_hooks,
)
from sampan.dropin.plans import load_plan, locate_plan, make_key
from sampan.dropin.quick_json import decode, encode
from sampan.dropin.refusal import Refusal
from sampan.dropin.wish import EDITS, may_ask, read_wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

UNKNOWN_MARK = (
    f"the annotation {EDITS} is none of ours, or what it stands for is lost: it is taken off, and"
    " nothing else"
)
PLANNER_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def edit_bundle(
    path: str,
    settings: dict[str, Any],
    cache: str,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[str]:
    """Edit a container's configuration if it asks for the driver; return warnings.

    Args:
        path: of the configuration.
        settings: from ``load_settings``, and of this installation ``hook`` and ``rootless``.
        cache: directory of plans; empty = none.
        ask: answers a wish with a plan.

    Raises:
        BundleError: the file cannot be read or written.
        Refusal: what was asked for cannot be given.
    """
    content, status = read_config(path)
    if not may_ask(content, settings):
        return []
    warnings: list[str] = []
    records: dict[str, dict[str, Any]] = {}
    try:
        config = decode(content)
        if not isinstance(config, dict):
            raise BundleError(f"{path} holds no JSON object")
        mark = read_mark(config)
        if mark is not None:
            before = load_records(path)
            records = {mark: before[mark]} if mark in before else {}
            if not records:
                warnings.append(UNKNOWN_MARK)
            remove_edits(config, records.get(mark, {}))
        wish = read_wish(config, settings)
        plan = find_plan(wish, settings, cache, ask) if wish else {}
        fragment = plan.get("fragment")
        if fragment:
            remove_old_hooks(config)
            added = apply_fragment(config, fragment)
            records[mark_of(added)] = added
        changed = encode(config) if fragment or mark is not None else content
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError) as error:
        raise BundleError(f"{path} is no configuration of a container: {error}") from error
    if changed != content:
        # First: whatever happens next, what the configuration's mark means is known.
        write_records(path, records)
        replace_config(path, changed, status)
        if records and not fragment:
            write_records(path, {})
    warnings += plan.get("warnings", [])
    return warnings


def find_plan(
    wish: dict[str, Any],
    settings: dict[str, Any],
    cache: str,
    ask: Callable[[dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """The plan for a wish: the kept one while it holds, else what ``ask`` answers.

    Raises:
        Refusal: what was asked for cannot be given.
    """
    key = make_key(wish, settings, os.path.dirname(__file__))
    path = locate_plan(cache, key)
    plan = load_plan(path, key) if path else None
    if plan is None:
        plan = ask(
            {
                "wish": wish,
                "settings": settings,
                "key": key.decode(),
                "path": path,
                "cache": cache,
            }
        )
    return plan


def ask_planner(planner: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that has the program ``planner`` answer a message."""

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        # A process of its own: it loads NVML's binding and much else that has no place here.
        from sampan.errors import SampanError
        from sampan.kernel.process import run_program

        try:
            done = run_program(
                [planner], environment=PLANNER_ENVIRONMENT, stdin=encode(message), check=False
            )
        except SampanError as error:
            raise Refusal(
                "runtime", error.cause, error.evidence, "sudo sampan install    puts it back"
            ) from error
        try:
            answer: dict[str, Any] = decode(done.stdout)
        except (ValueError, UnicodeDecodeError):
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise Refusal(
                "runtime",
                f"{planner} gave no answer (exit code {done.returncode})",
                said[-1] if said else "it printed nothing",
                "sudo sampan install    puts it back",
            ) from None
        if "error" in answer:
            raise Refusal(*answer["error"])
        return answer

    return ask
