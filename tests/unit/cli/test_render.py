"""What strangers wrote (names in layers, words of images) on the user's terminal."""

import pytest

from sampan.cli.columns import format_columns
from sampan.cli.render import print_error, print_warning
from sampan.errors import SampanError


def test_a_hostile_name_in_a_refusal_cannot_command_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a\x1b]0;title\x07\r\x9b2J\u202e\udcff"
    print_error(SampanError(f"entry {name}", evidence=name, remedy=name))
    print_warning(name)
    said = capsys.readouterr().err
    assert all(one.isprintable() or one == "\n" for one in said), ascii(said)
    assert "\\x1b]0;title\\x07\\r\\x9b2J\\u202e\\udcff" in said


def test_a_line_break_in_a_hostile_name_begins_no_line_of_ours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a\nerror[x]: y\nwarning: z"
    print_error(SampanError(name, evidence=name, remedy=name))
    print_warning(name)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("error", "warning"))] == [
        "error[error]:",
        "warning:",
    ]
    table = format_columns(("NAME", "WHY"), [(name, "b\x1b[2J\u202e")])
    assert table.splitlines()[1:] == [r"a\nerror[x]: y\nwarning: z  b\x1b[2J\u202e"]


def test_ordinary_text_and_its_lines_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(SampanError("größer … als", evidence="one\ntwo"))
    assert (
        capsys.readouterr().err == "error[error]: größer … als\n  evidence: one\n            two\n"
    )
