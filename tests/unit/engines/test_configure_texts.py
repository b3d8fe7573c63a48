"""Edits of configuration texts: what is not meant stays byte for byte, and taking out is the reverse."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sampan.engines.configure.edits import (
    ConfigurationSyntaxError,
    Document,
    Edit,
    join_done,
    make_edits,
    take_out,
)
from sampan.engines.configure.json_text import JsonText
from sampan.engines.configure.line_text import LIST, ListLines, PairLines
from sampan.engines.configure.toml_text import TomlText

DOCKER = (
    Edit(("runtimes", "nvidia", "path"), "/usr/local/bin/sampan-runtime"),
    Edit(("default-runtime",), "nvidia"),
    Edit(("features", "cdi"), value=True),
)
DAEMON = """\
{
  "log-driver": "json-file", "log-opts": {"max-size":"10m"},

  "runtimes": {
    "kata": { "path": "/usr/bin/kata", "unknown": [1.50, 1e3] }
  },
  "labels": ["caf\\u00e9"]
}
"""


def test_json_keeps_every_byte_around_what_is_added() -> None:
    document = JsonText(DAEMON, "daemon.json")
    make_edits(document, DOCKER)
    assert document.text() == DAEMON.replace(
        "[1.50, 1e3] }\n",
        '[1.50, 1e3] },\n    "nvidia": {\n      "path": "/usr/local/bin/sampan-runtime"\n    }\n',
    ).replace(
        '["caf\\u00e9"]\n',
        '["caf\\u00e9"],\n  "default-runtime": "nvidia",\n  "features": {\n    "cdi": true\n  }\n',
    )


@pytest.mark.parametrize(
    "text",
    ["{}", "{}\n", '{"a":1}', DAEMON, DAEMON.replace("\n", "\r\n"), '{\n\t"a": {}\n}\n',
     '{"features": {"cdi": false}, "runtimes": {}}', '{"default-runtime": "runc"}\n'],
)  # fmt: skip
def test_taking_json_edits_out_gives_the_text_back(text: str) -> None:
    document = JsonText(text, "daemon.json")
    done = make_edits(document, DOCKER)
    assert json.loads(document.text())["default-runtime"] == "nvidia"
    assert take_out(document, done) == ()
    assert document.text() == text


VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
)  # fmt: skip
NAMES = some.sampled_from(["runtimes", "features", "hosts", "é", ""])


@given(
    some.dictionaries(NAMES, VALUES, max_size=4), some.sampled_from([None, 2, "\t"]),
    some.lists(some.tuples(NAMES, NAMES), min_size=1, max_size=3, unique=True),
)  # fmt: skip
def test_any_json_comes_back_after_edits_that_could_be_made(
    values: dict[str, object], indent: int | str | None, keys: list[tuple[str, str]]
) -> None:
    text = json.dumps(values, indent=indent)
    document = JsonText(text, "any.json")
    try:
        done = make_edits(document, [Edit(key, "ours") for key in keys])
    except ConfigurationSyntaxError:
        return
    for key in keys:
        assert json.loads(document.text())[key[0]][key[1]] == "ours"
    take_out(document, done)
    assert json.loads(document.text()) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  // mine\n  "a": 1\n}', "line 2, column 3: .*comments are no JSON"),
        ('{"a": 1, "a": 2}', "'a' stands there twice"),
        ("[]", "a list"),
        ('{"a": 1,}', "line 1"),
    ],
)
def test_what_dockerd_could_not_read_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(ConfigurationSyntaxError, match=said):
        JsonText(text, "daemon.json")


def test_a_key_through_something_that_is_no_object_is_refused() -> None:
    with pytest.raises(ConfigurationSyntaxError, match="runtimes is no object"):
        make_edits(JsonText('{"runtimes": 5}', "daemon.json"), DOCKER)


CONTAINERD = """\
# mine
version = 2
imports = ["/etc/containerd/other.toml"]  # theirs

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "my/pause:1" # keep
  future_key = {a = 1}
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
CRI = ("plugins", "io.containerd.grpc.v1.cri")


def test_toml_keeps_comments_unknown_keys_and_the_imports_of_others() -> None:
    document = TomlText(CONTAINERD, "config.toml")
    done = make_edits(
        document,
        [
            Edit(("imports",), "/etc/containerd/conf.d/*.toml", append=True),
            Edit((*CRI, "containerd", "runtimes", "nvidia", "runtime_type"), "io.containerd.runc.v2"),
            Edit((*CRI, "enable_cdi"), value=True),
        ],
    )  # fmt: skip
    text = document.text()
    lines = text.splitlines()
    for line in CONTAINERD.splitlines():
        if not line.startswith("imports"):
            assert line in lines
    assert (
        'imports = ["/etc/containerd/other.toml", "/etc/containerd/conf.d/*.toml"]  # theirs'
        in lines
    )
    assert "  enable_cdi = true" in lines
    take_out(document, done)
    assert tomllib.loads(document.text()) == tomllib.loads(CONTAINERD)
    assert "# mine" in document.text()
    assert "# keep" in document.text()


@pytest.mark.parametrize(
    "text",
    ["", "a = 1\n", 'engine = {runtime = "x"}\n', 'engine.runtimes.crun = ["/a"]\n',
     '[engine]\n[engine.runtimes]\ncrun = []\n[machine]\n[engine.volume]\nx = 1\n',
     "[[engine.list]]\na = 1\n"],
)  # fmt: skip
def test_every_arrangement_of_tables_takes_an_edit_and_gives_it_back(text: str) -> None:
    document = TomlText(text, "containers.conf")
    done = make_edits(
        document,
        [Edit(("engine", "runtimes", "nvidia"), ["/r"]), Edit(("engine", "runtime"), "nvidia")],
    )
    values = tomllib.loads(document.text())
    assert values["engine"]["runtimes"]["nvidia"] == ["/r"]
    take_out(document, done)
    assert tomllib.loads(document.text()) == tomllib.loads(text)


def test_a_toml_key_through_a_value_is_refused() -> None:
    with pytest.raises(ConfigurationSyntaxError, match="engine is no table"):
        make_edits(TomlText("engine = 1\n", "c.conf"), [Edit(("engine", "runtime"), "x")])


def test_the_list_of_apptainer_gets_what_it_lacks_and_keeps_its_comments() -> None:
    text = "# put libs here\nlibcuda.so\n\n# files\n/usr/share/x.json"
    document = ListLines(text, "nvliblist.conf")
    done = make_edits(document, [Edit(LIST, "libcuda.so", append=True), Edit(LIST, "libnew.so", append=True)])  # fmt: skip
    assert document.text() == text + "\nlibnew.so\n"
    take_out(document, done)
    assert document.text() == text + "\n"


def test_a_pair_of_apptainer_is_changed_in_its_line() -> None:
    text = "# always use nv = yes\nalways use nv = no\nmount home = yes\n"
    document = PairLines(text, "apptainer.conf")
    done = make_edits(document, [Edit(("always use nv",), "yes")])
    assert document.text() == text.replace("nv = no", "nv = yes")
    take_out(document, done)
    assert document.text() == text


def test_a_value_that_somebody_changed_since_is_left_to_him() -> None:
    document: Document = JsonText("{}", "daemon.json")
    done = make_edits(document, DOCKER)
    document.set(("default-runtime",), "kata")
    assert take_out(document, done) == ("default-runtime was changed since and stays",)
    assert document.values() == {"default-runtime": "kata"}


def test_two_changes_are_undone_as_one_to_what_stood_before_the_first() -> None:
    document = JsonText('{"default-runtime": "runc"}', "daemon.json")
    first = make_edits(document, [Edit(("default-runtime",), "one")])
    second = make_edits(document, [Edit(("default-runtime",), "two")])
    take_out(document, join_done(first, second))
    assert document.values() == {"default-runtime": "runc"}


def test_a_wish_of_somebody_between_two_changes_is_what_undo_gives_back() -> None:
    document = JsonText('{"default-runtime": "runc"}', "daemon.json")
    first = make_edits(document, [Edit(("default-runtime",), "one")])
    document.set(("default-runtime",), "kata")
    second = make_edits(document, [Edit(("default-runtime",), "two")])
    take_out(document, join_done(first, second))
    assert document.values() == {"default-runtime": "kata"}
