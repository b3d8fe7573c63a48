"""The error tree: every refusal states its cause, the evidence and a remedy.

Library code raises these, ``cli/render.py`` alone prints them. A room adds its own subclass with
its own ``id`` beside the code that raises it; this module imports nothing of ours.
"""

from typing import ClassVar

EXIT_OURS = 125
"""Exit code of a failure that is Sampan's, not the container's (docker run(1), exit status)."""
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class SampanError(Exception):
    """Base of all refusals.

    Attributes:
        id: kebab-case name of the kind of failure, shown as ``error[id]``.
        exit_code: what the process exits with when nobody handles the error.
        cause: one line: what failed.
        evidence: what was seen that proves it (path, version, value); may be empty.
        remedy: the command to type, or what to change; may be empty.
    """

    id: ClassVar[str] = "error"
    exit_code: int = EXIT_OURS

    def __init__(self, cause: str, *, evidence: str = "", remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.evidence = evidence
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.cause]
        if self.evidence:
            parts.append(f"evidence: {self.evidence}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(parts)


class UsageError(SampanError):
    """The user's words do not fit together: a bad option value, a contradiction."""

    id = "usage"


class InternalError(SampanError):
    """A state that our own code excludes; reported as a bug."""

    id = "internal"


class OperatingSystemError(SampanError):
    """A system call failed where nothing better could be said: a full disk behind our output."""

    id = "operating-system"
