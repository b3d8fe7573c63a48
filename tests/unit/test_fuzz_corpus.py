"""Every input that the fuzzer has left is read again, and those that once were errors stay repaired."""

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
MOST_BYTES = 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_is_read_or_refused(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        content = path.read_bytes()
        assert len(content) <= TARGETS[name].longest
        TARGETS[name].run(content)


def test_the_corpus_is_small_and_has_no_target_that_is_gone() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MOST_BYTES
