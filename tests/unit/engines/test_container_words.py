"""Names and signals as users write them."""

import signal

import pytest

from sampan.engines.native.names import random_name, verify_name
from sampan.engines.native.signals import parse_signal
from sampan.errors import UsageError


def test_a_name_of_ours_is_a_name_and_hardly_ever_the_same() -> None:
    names = {random_name() for _ in range(200)}
    assert len(names) > 190
    assert all(verify_name(name) == name for name in names)


@pytest.mark.parametrize("name", ["web", "a1", "My_box.2-x", "x" * 128])
def test_dockers_names_are_fine(name: str) -> None:
    assert verify_name(name) == name


@pytest.mark.parametrize("name", ["", "x", "_a", "-ab", "a b", "a/b", "..", "é2", "x" * 129])
def test_others_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        verify_name(name)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("SIGHUP", signal.SIGHUP),
        ("sigusr1", signal.SIGUSR1),
        ("9", 9),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
        ("RTMIN", signal.SIGRTMIN),
    ],
)
def test_signals_by_name_and_number(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "WHAT", "_IGN", "SIG_DFL", "TERM+1", "RTMAX+1"])
def test_other_signals_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_signal(text)
