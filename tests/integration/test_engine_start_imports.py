"""Start-up is part of the product: which modules a start loads, and the table of its phases."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from support.engine_host import USERS, EngineHost, engine_host

pytestmark = pytest.mark.integration

HEAVY = frozenset(
    (
        "asyncio", "concurrent.futures", "csv", "dataclasses", "hashlib", "http", "inspect", "isal",
        "logging", "multiprocessing", "pathlib", "pickle", "pynvml", "random", "rich", "selectors",
        "shlex", "shutil", "socket", "ssl", "subprocess", "tempfile", "threading", "urllib", "uuid",
        "zlib", "zstandard",
    )
)  # fmt: skip
"""Each costs milliseconds at every start, or stands for something that does."""


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.mark.parametrize("user", USERS)
def test_a_start_loads_nothing_heavy_and_little_of_ours(host: EngineHost, user: str) -> None:
    host.run("run", "--rm", "testimage", "true", user=user)
    program = [sys.executable, "-X", "importtime", "-m", "sampan"]
    words = ("run", "--rm", "-e", "A=b", "-v", "/tmp:/mnt", "testimage", "true")
    done = subprocess.run(
        host.command(*words, user=user, program=program),
        env=host.environment(user),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in lines[1:]}
    assert loaded & HEAVY == set()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("sampan.")}
    assert rooms <= {"__main__", "cli", "engines", "errors", "gpus", "images", "injection", "kernel", "model"}  # fmt: skip
    assert not [name for name in loaded if name.startswith("sampan.driver")]
    ours = {name for name in loaded if name.startswith("sampan.")}
    assert len(ours) <= 75, sorted(ours)


def test_the_phases_of_a_start_are_shown_on_request(host: EngineHost) -> None:
    done = host.run("run", "--rm", "testimage", "true", variables={"SAMPAN_TRACE_START": "1"})
    assert done.returncode == 0
    rows = [line.rsplit(None, 2) for line in done.stderr.splitlines()]
    phases = [row[0] for row in rows]
    assert phases[-1] == "total"
    assert {"image, facts", "clone", "pid 1: image, overlay", "container"} <= set(phases)
    assert all(row[2] == "ms" and float(row[1]) >= 0 for row in rows)
