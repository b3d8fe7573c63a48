"""Sizes, ages and templates of the store's commands."""

import pytest

from sampan.cli.humanize import human_age, human_size, parse_age, parse_bytes
from sampan.cli.import_progress import choose_progress
from sampan.cli.inspect_format import render_template
from sampan.errors import UsageError
from sampan.images.layer_packing import ImportEvent

DAY = 86400.0


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.23MB"), (50122752, "50.1MB"),
     (999_700_000, "1000MB"), (1_190_000_000, "1.19GB"), (21 * 10**15, "21PB")],
)  # fmt: skip
def test_sizes_are_printed_as_docker_prints_them(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 seconds ago"), (1, "1 second ago"), (119, "119 seconds ago"), (120, "2 minutes ago"),
     (3 * 3600, "3 hours ago"), (3 * DAY, "3 days ago"), (20 * DAY, "2 weeks ago"),
     (100 * DAY, "3 months ago"), (1000 * DAY, "2 years ago")],
)  # fmt: skip
def test_ages_are_printed_in_dockers_words(seconds: float, text: str) -> None:
    assert human_age(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("20GB", 20 * 10**9), ("20g", 20 * 10**9), ("1.5GiB", 3 << 29)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes("--max-size", text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("12h", 43200), ("30d", 30 * DAY)])
def test_ages_are_read(text: str, seconds: float) -> None:
    assert parse_age("--older-than", text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5GB", "1.2.3", "5 GB", "5XB", "GB"])
def test_what_is_no_size_or_age_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--max-size") as caught:
        parse_bytes("--max-size", text)
    assert caught.value.remedy.startswith("e.g.")
    with pytest.raises(UsageError):
        parse_age("--older-than", text)


DOCUMENT = {
    "Id": "sha256:1",
    "Config": {"Env": ["A=1"], "User": None},
    "State": {"Running": True, "Pid": 1},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Id}}", "sha256:1"),
        ("a {{ .State.Running }} {{.State.Pid}} z", "a true 1 z"),
        ("{{json .Config.Env}}", '["A=1"]'),
        ("{{.Config.User}}", "<nil>"),
        ("{{json .Id}}", '"sha256:1"'),
        ("plain", "plain"),
    ],
)
def test_templates_give_members_as_docker_does(template: str, text: str) -> None:
    assert render_template(template, DOCUMENT) == text


@pytest.mark.parametrize(
    "template", ["{{.Nope}}", "{{range .Id}}", "{{.Id", "{{.Id.More}}", "{{}}"]
)
def test_other_templates_are_refused(template: str) -> None:
    with pytest.raises(UsageError):
        render_template(template, DOCUMENT)


EVENTS = [
    ImportEvent("layers", total=2),
    ImportEvent("present", "old"),
    ImportEvent("layer", "new", 5, 2_000_000),
    ImportEvent("warning", "/sock is a socket, left out"),
    ImportEvent("layer", "a[/b]c", 5, 10),
    ImportEvent("packed", "new", 2_000_000, 2_000_000),
    ImportEvent("packed", "standard input"),
    ImportEvent("link"),
]


def said(capsys: pytest.CaptureFixture[str], *, quiet: bool, terminal: bool) -> str:
    with choose_progress(quiet=quiet, terminal=terminal) as tell:
        for event in EVENTS:
            tell(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_log_gets_a_line_for_each_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, quiet=False, terminal=False).splitlines() == [
        "layer old: already there",
        "warning: /sock is a socket, left out",
        "layer new: packed (2MB)",
        "layer standard input: packed",
        "linking the image",
    ]


def test_quiet_leaves_only_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, quiet=True, terminal=True) == "warning: /sock is a socket, left out\n"


def test_a_terminal_gets_bars_and_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, quiet=False, terminal=True)
    assert "old: already there" in text
    assert "warning: /sock is a socket, left out" in text


def test_index_reads_keys_that_are_no_names() -> None:
    document = {"Config": {"Labels": {"org.example/a b": "x", "n": None}}}
    assert render_template('{{index .Config.Labels "org.example/a b"}}!', document) == "x!"
    assert render_template('{{index .Config.Labels "none"}}!', document) == "!"
    for template in ("{{index .Config.Labels}}", '{{index "a"}}', '{{.Config.Labels "n"}}'):
        with pytest.raises(UsageError, match="format"):
            render_template(template, document)
