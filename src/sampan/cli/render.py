"""How errors and warnings look on the terminal. Library code raises; only this room prints."""

import sys

from sampan.errors import SampanError


def print_error(error: SampanError) -> None:
    """Print the three parts of a refusal on standard error."""
    lines = [f"error[{error.id}]: {_indented(error.cause)}"]
    if error.evidence:
        lines.append(f"  evidence: {_indented(error.evidence)}")
    if error.remedy:
        lines.append(f"  remedy:   {_indented(error.remedy)}")
    print("\n".join(lines), file=sys.stderr)


def print_warning(text: str) -> None:
    """Print one warning line on standard error."""
    print(f"warning: {_indented(text)}", file=sys.stderr)


def printable(text: str) -> str:
    """The text with what would command a terminal, or is no text, written as escapes.

    Names in layers, words of images and their labels come from strangers.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def printable_word(text: str) -> str:
    """The same for what stays on its line."""
    return text if text.isprintable() else printable(text).replace("\n", "\\n")


def _indented(text: str) -> str:
    # A stranger's name with a line break must not look like a line of ours.
    return printable(text).replace("\n", "\n            ")
