"""What a drop-in says when a container must not start."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - it is what the container's user reads
    """The container must not start: what failed, the evidence, the remedy."""

    def __init__(self, kind: str, cause: str, evidence: str = "", remedy: str = "") -> None:
        super().__init__(cause)
        self.kind, self.cause, self.evidence, self.remedy = kind, cause, evidence, remedy

    def lines(self) -> list[str]:
        """As ``sampan`` prints a refusal."""
        lines = [f"error[{self.kind}]: {self.cause}"]
        if self.evidence:
            lines.append(f"  evidence: {self.evidence}")
        if self.remedy:
            lines.append(f"  remedy:   {self.remedy}")
        return [printable(line) for line in lines]


def printable(text: str) -> str:
    """The text on one line, with what would command a terminal written as escapes.

    Words of images are in it, which come from strangers.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
