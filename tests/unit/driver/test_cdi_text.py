"""The YAML and JSON text of CDI documents: ours, other vendors', hostile ones."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.driver.cdi_yaml import CdiTextError, parse_text, render_json, render_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | st.sampled_from(
    ["0:1", "1:0", "yes", "null", "~", "0.5.0", "- a", "a: b", "a #b", "2001-01-01", "0x10", "a:",
     "lib.so.1=lib.so", "x86_64::/usr/lib", "NVIDIA_VISIBLE_DEVICES=void", "é", "\x85", "\ufeff"]
)  # fmt: skip
VALUES = st.recursive(
    TEXTS | st.integers(-(1 << 63), 1 << 63) | st.booleans(),
    lambda inner: (
        st.lists(inner.filter(lambda v: not isinstance(v, list)), max_size=3)
        | st.dictionaries(TEXTS, inner, max_size=3)
    ),
    max_leaves=15,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4)


@given(DOCUMENTS)
@settings(max_examples=200)
def test_what_we_write_is_read_alike_by_us_and_by_others(document: dict[str, Any]) -> None:
    text = render_yaml(document, "a comment").encode()
    assert parse_text(text, is_json=False) == document
    assert yaml.safe_load(text) == document
    assert parse_text(render_json(document).encode(), is_json=True) == document


@given(st.binary(max_size=200) | TEXTS.map(str.encode), st.booleans())
@settings(max_examples=200)
def test_any_bytes_are_a_value_or_a_refusal(text: bytes, is_json: bool) -> None:
    try:
        parse_text(text, is_json=is_json)
    except CdiTextError as error:
        assert error.evidence  # noqa: PT017 - both ends are fine


def test_texts_that_only_yaml_1_1_takes_for_numbers_or_dates_stay_texts() -> None:
    text = b"a: 1:0\nb: 2001-01-01\nc: yes\nd: 0.5.0\ne: 0666\nf: 438\ng: 0x1F\nh: '0'\ni: 0.5\n"
    assert parse_text(text, is_json=False) == {
        "a": "1:0", "b": "2001-01-01", "c": "yes", "d": "0.5.0", "e": 438, "f": 438, "g": 31,
        "h": "0", "i": 0.5,
    }  # fmt: skip


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [" + ",".join([f"*{chr(97 + n)}"] * 9) + "]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB.encode(), "aliases (*a) are not allowed"),
        (b"[" * 100_000, "nested more than 32 deep"),
        (b"a: " + b"{b: " * 50, "nested more than 32 deep"),
        (b"a: 1\na: 2\n", "the member 'a' is there twice"),
        (b"{a: 1}\n---\n{b: 1}\n", "a second document begins"),
        (b"a: !!python/object/apply:os.system ['id']\n", "tags"),
        (b"a: !!binary aGk=\n", "tags"),
        (b"1: a\n", "a member's name is no text"),
        (b"? [a]\n: b\n", "a member's name is no text"),
        (b"a: [1,\n", "expected"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a: \x01", "control characters"),
        (b"x" * (5 << 20), "larger than 4 MiB"),
        (b"- a\n" * 250_000, "more than 200000 parts"),
        (b"a: " + b"9" * 10_000, "digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_yaml_is_refused_at_once(text: bytes, said: str) -> None:
    with pytest.raises(CdiTextError) as caught:
        parse_text(text, is_json=False)
    assert said in caught.value.evidence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "the member 'a' is there twice"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "digits"),
        (b"", "Expecting value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_json_is_refused_at_once(text: bytes, said: str) -> None:
    with pytest.raises(CdiTextError) as caught:
        parse_text(text, is_json=True)
    assert said in caught.value.evidence


def test_a_document_looks_as_people_write_it() -> None:
    document = json.loads(
        '{"cdiVersion": "0.5.0", "devices": [{"name": "0", "containerEdits":'
        ' {"deviceNodes": [{"path": "/dev/nvidia0", "major": 195}], "env": ["A=b", "C="]}}]}'
    )
    assert render_yaml(document) == (
        "cdiVersion: 0.5.0\n"
        "devices:\n"
        '- name: "0"\n'
        "  containerEdits:\n"
        "    deviceNodes:\n"
        "    - path: /dev/nvidia0\n"
        "      major: 195\n"
        "    env:\n"
        "    - A=b\n"
        "    - C=\n"
    )
