"""Tables as plain text, aligned by the widest word of each column."""

from collections.abc import Sequence


def format_columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with two spaces between columns; the last column is not padded."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
