"""``--gpus`` reads as docker's does, and says what is wrong with a wish it cannot read."""

import pytest

from sampan.errors import UsageError
from sampan.gpus.option import GpusOption, parse_gpus_option


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", GpusOption(-1, (), ())),
        ("-1", GpusOption(-1, (), ())),
        ("0", GpusOption(0, (), ())),
        ("2", GpusOption(2, (), ())),
        ("count=3", GpusOption(3, (), ())),
        ("count=all", GpusOption(-1, (), ())),
        ("device=0", GpusOption(None, ("0",), ())),
        ('"device=0,2"', GpusOption(None, ("0", "2"), ())),
        ("device=0,2", GpusOption(None, ("0", "2"), ())),
        ("device=GPU-1a,GPU-2b", GpusOption(None, ("GPU-1a", "GPU-2b"), ())),
        ('all,"capabilities=compute,utility"', GpusOption(-1, (), ("compute", "utility"))),
        ("all,capabilities=compute,utility", GpusOption(-1, (), ("compute", "utility"))),
        ("capabilities=gpu", GpusOption(1, (), ())),
        ('"device=1","capabilities=gpu,video"', GpusOption(None, ("1",), ("video",))),
        ("all,driver=nvidia,options=a=b", GpusOption(-1, (), ())),
    ],
)
def test_dockers_forms_are_read(text: str, expected: GpusOption) -> None:
    assert parse_gpus_option(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("some", "neither a number, 'all' nor"),
        ("", "neither a number"),
        ("-2", "less than -1"),
        ("device=0,count=2", "exclude each other"),
        ("2,device=0", "exclude each other"),
        ("count=1,count=2", "said twice"),
        ("device=", "names nothing"),
        ("speed=9", "unexpected key 'speed'"),
        ("all,driver=amd", "not nvidia"),
        ('"device=0', "not closed"),
        ('"device=0"x', "closing quote"),
        ('de"vice=0', "inside a field"),
    ],
)
def test_a_wish_that_cannot_be_read_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refusal:
        parse_gpus_option(text)
    assert "--gpus all" in refusal.value.remedy


@pytest.mark.parametrize("text", ["idle:2", "count=idle:2", "idle:2,capabilities=compute"])
def test_idle_ones_are_a_kind_of_count(text: str) -> None:
    option = parse_gpus_option(text)
    assert (option.idle_count, option.gpu_count, option.devices) == (2, None, ())


@pytest.mark.parametrize(
    "text", ["idle", "idle:", "idle:0", "idle:-1", "idle:x", "idle:2,device=0"]
)
def test_an_unclear_number_of_idle_ones_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_gpus_option(text)
