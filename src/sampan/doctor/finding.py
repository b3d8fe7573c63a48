"""What a check says: one finding for each thing that is right, worth knowing, or wrong."""

from typing import NamedTuple

SEVERITIES: tuple[str, ...] = ("ok", "info", "warning", "broken")
"""From harmless to worst. ``info``: worth knowing, or could not be seen; nothing to repair."""


class Finding(NamedTuple):
    """One statement of a check.

    Attributes:
        id: kebab-case, stable, for programs that read the JSON form.
        severity: one of SEVERITIES.
        cause: one line: what is so.
        evidence: path, version, value that shows it.
        symptom: the message that users see because of it, verbatim; empty when there is none.
        remedy: the command to type; empty when nothing is to be done.
        check: name of the check, put in by ``examine``.
    """

    id: str
    severity: str
    cause: str
    evidence: str = ""
    symptom: str = ""
    remedy: str = ""
    check: str = ""


def ok(identity: str, cause: str, evidence: str = "") -> Finding:
    """Something that is as it should be."""
    return Finding(identity, "ok", cause, evidence)


def info(
    identity: str, cause: str, evidence: str = "", *, remedy: str = "", symptom: str = ""
) -> Finding:
    """Something to know."""
    return Finding(identity, "info", cause, evidence, symptom, remedy)


def warning(identity: str, cause: str, evidence: str, *, remedy: str, symptom: str = "") -> Finding:
    """Something that fails for some, or will fail."""
    return Finding(identity, "warning", cause, evidence, symptom, remedy)


def broken(identity: str, cause: str, evidence: str, *, remedy: str, symptom: str = "") -> Finding:
    """Something that does not work."""
    return Finding(identity, "broken", cause, evidence, symptom, remedy)
