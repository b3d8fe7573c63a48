"""How errors and warnings look on the terminal. Library code raises; only this room prints."""

import sys

from sampan.errors import SampanError


def print_error(error: SampanError) -> None:
    """Print the three parts of a refusal on standard error."""
    lines = [f"error[{error.id}]: {error.cause}"]
    if error.evidence:
        lines.append(f"  evidence: {error.evidence}")
    if error.remedy:
        lines.append(f"  remedy:   {error.remedy}")
    print("\n".join(lines), file=sys.stderr)


def print_warning(text: str) -> None:
    """Print one warning line on standard error."""
    print(f"warning: {text}", file=sys.stderr)
