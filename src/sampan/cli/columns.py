"""Tables as plain text, aligned by the widest word of each column."""

from collections.abc import Sequence

from sampan.cli.render import printable_word


def format_columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with two spaces between columns; the last column is not padded.

    Names of files are strangers' words: none begins a line of its own or commands the terminal.
    """
    lines = [list(headings), *([printable_word(word) for word in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
