"""A function in a process of its own answers, or says how its process ended."""

import os
import signal

import pytest

from sampan.kernel.isolated import MAXIMUM_ANSWER_BYTES, IsolatedError, call_isolated


def test_the_answer_comes_back_whole() -> None:
    answer = os.urandom(300_000)
    assert call_isolated(lambda: answer, timeout_s=30) == answer


def test_an_empty_answer_is_an_answer() -> None:
    assert call_isolated(bytes, timeout_s=30) == b""


def test_the_child_is_another_process_and_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    def speak() -> bytes:
        os.write(1, b"noise")
        return str(os.getpid()).encode()

    assert int(call_isolated(speak, timeout_s=30)) != os.getpid()
    assert capfd.readouterr().out == ""


def test_an_exception_counts_as_a_crash() -> None:
    with pytest.raises(IsolatedError, match="ended early") as refusal:
        call_isolated(lambda: bytes(1 // 0), timeout_s=30)
    assert "exit code 1" in refusal.value.evidence


def test_a_signal_is_named() -> None:
    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(IsolatedError) as refusal:
        call_isolated(die, timeout_s=30)
    assert "SIGKILL" in refusal.value.evidence


def test_a_call_that_does_not_end_is_killed() -> None:
    def wait() -> bytes:
        signal.pause()
        return b""

    with pytest.raises(IsolatedError, match="did not end"):
        call_isolated(wait, timeout_s=0.2)


def test_an_endless_answer_is_cut_off() -> None:
    with pytest.raises(IsolatedError):
        call_isolated(lambda: bytes(3 * MAXIMUM_ANSWER_BYTES), timeout_s=30)
