"""Runs checks over a subject: each one to its end, whatever the others find."""

import importlib
from collections.abc import Iterable, Iterator, Sequence

from sampan.doctor.finding import SEVERITIES, Finding, info, warning
from sampan.doctor.subject import Subject
from sampan.doctor.table import CHECKS
from sampan.errors import SampanError, UsageError

MAXIMUM_NAMED = 4


def choose_checks(
    names: Sequence[str], *, image: bool, network: bool, engine: bool
) -> tuple[str, ...]:
    """The names of the checks to run, in the order of the table.

    Args:
        names: the user's words; empty = all that can be run.
        image: whether an image was named.
        network: whether other machines may be asked.
        engine: whether one engine is looked at; our own engine's checks stay away then.

    Raises:
        UsageError: no such check, or one that lacks its option.
    """
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0], CHECKS, n=1)
        raise UsageError(
            f"no check {unknown[0]!r}",
            remedy=f"did you mean: {near[0]}" if near else "sampan doctor --list names the checks",
        )
    allowed = {"image": image, "network": network}
    for name in names:
        scope = CHECKS[name].scope
        if not allowed.get(scope, True):
            word = "--image NAME" if scope == "image" else "--network"
            raise UsageError(
                f"the check {name} needs {word}", remedy=f"sampan doctor {word} {name}"
            )
    if names:
        return tuple(name for name in CHECKS if name in names)
    allowed["sampan"] = not engine
    return tuple(name for name, check in CHECKS.items() if allowed.get(check.scope, True))


def examine(subject: Subject, names: Iterable[str]) -> Iterator[Finding]:
    """The findings of each check as it ends; a check that fails itself is a finding, too."""
    for name in names:
        module = importlib.import_module(f"sampan.doctor.checks.{CHECKS[name].module}")
        subject.host.unseen.clear()
        try:
            for finding in module.check(subject):
                yield finding._replace(check=name)
        except (SampanError, OSError) as error:
            yield warning(
                "check-failed", f"the check {name} could not be made", str(error),
                remedy=f"sudo sampan doctor {name}",
            )._replace(check=name)  # fmt: skip
        if subject.host.unseen:
            unseen = list(subject.host.unseen)
            more = f" and {len(unseen) - MAXIMUM_NAMED} more" if len(unseen) > MAXIMUM_NAMED else ""
            yield info(
                "not-seen",
                f"without root the check {name} could not look everywhere",
                ", ".join(unseen[:MAXIMUM_NAMED]) + more,
                remedy=f"sudo sampan doctor {name}",
            )._replace(check=name)


def worst_severity(findings: Iterable[Finding]) -> str:
    """The worst of SEVERITIES; ``ok`` when there is none."""
    return max((finding.severity for finding in findings), key=SEVERITIES.index, default="ok")
