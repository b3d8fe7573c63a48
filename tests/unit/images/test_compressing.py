"""Layers are compressed to the same bytes each time, and every reader takes them."""

import gzip
import io
import os
import random
import subprocess
from typing import Any

import pytest
import zstandard

from sampan.errors import UsageError
from sampan.images.compressing import check_level, open_compressed
from sampan.images.inflate import open_inflated

NOISE = random.Random(1).randbytes(700_000)
CONTENTS = [b"", b"x", NOISE, (NOISE + bytes(1 << 20)) * 3]


def compress(content: bytes, compression: str, level: int | None = None) -> bytes:
    level = check_level(compression, level)
    with open_compressed(io.BytesIO(content), compression, level) as stream:
        return stream.read()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("content", CONTENTS, ids=len)
def test_what_goes_out_comes_back(compression: str, content: bytes) -> None:
    squeezed = compress(content, compression)
    if content:
        with open_inflated(io.BytesIO(squeezed), layer="test") as inflated:
            assert b"".join(iter(inflated.read_slab, b"")) == content
            assert inflated.kind == ("plain" if compression == "none" else compression)
    else:
        plain = {"gzip": gzip.decompress, "none": bytes,
                 "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)}  # fmt: skip
        assert plain[compression](squeezed) == b""


def test_other_programs_read_our_gzip() -> None:
    squeezed = compress(CONTENTS[-1], "gzip")
    assert gzip.decompress(squeezed) == CONTENTS[-1]
    done = subprocess.run(["gzip", "-dc"], input=squeezed, capture_output=True, check=True)
    assert done.stdout == CONTENTS[-1]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_the_number_of_cores_does_not_change_the_bytes(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (NOISE[:200_000] + bytes(300_000)) * 20
    found = set()
    for cores in (1, 2, 5):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        found.add(compress(content, compression))
    assert len(found) == 1


def test_a_higher_level_makes_less_of_it() -> None:
    text = b"".join(b"line %d of a text\n" % (n % 977) for n in range(100_000))
    assert len(compress(text, "gzip", 9)) < len(compress(text, "gzip", 1))


@pytest.mark.parametrize(("compression", "level"), [("gzip", 0), ("zstd", 20), ("lzma", None)])
def test_what_cannot_be_chosen_is_refused(compression: str, level: Any) -> None:
    with pytest.raises(UsageError):
        check_level(compression, level)


def test_giving_up_in_the_middle_closes_the_source() -> None:
    source = io.BytesIO(NOISE * 20)
    stream = open_compressed(source, "gzip", 1)
    assert stream.read(10)
    stream.close()
    assert source.closed
