"""Names in the kernel's table of sockets that somebody binds to deceive who reads the leases."""

import os
import socket
from collections.abc import Iterator

import pytest

from sampan.engines.leases import describe_holder, list_holders, release
from sampan.engines.leases import lease_idle as lease
from sampan.gpus.idle import Candidate

pytestmark = pytest.mark.integration
GPU = f"GPU-hostile-{os.getpid()}"
NAMES = (
    f"sampan-gpu/{GPU}\n\x1b]0;owned\x07",
    f"sampan-gpu/{GPU}/1\n/x/1",
    f"sampan-gpu/{GPU}/{'9' * 30}/x/{'9' * 30}",
    f"sampan-gpu/{GPU}/-1/x/0",
    f"sampan-gpu/{GPU}/../../{'x' * 40}/1",
    f"sampan-gpu/{GPU}/1/a b/1",
    f"sampan-gpu/{GPU}/\u0661/x/\u0662",
    "sampan-gpu//",
    "sampan-gpu/",
)


@pytest.fixture
def planted() -> Iterator[list[socket.socket]]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be two users")
    made = []
    os.seteuid(20_000)
    try:
        for name in (*(name.encode() for name in NAMES), b"sampan-gpu/\xff\xfe/" + b"\0" * 40):
            one = socket.socket(socket.AF_UNIX)
            one.bind(b"\0" + name)
            made.append(one)
    finally:
        os.seteuid(0)
    yield made
    for one in made:
        one.close()


def test_planted_names_deceive_nobody_and_command_no_terminal(
    planted: list[socket.socket],
) -> None:
    candidate = Candidate(GPU, "0", "", busy=False)
    (taken,) = lease([candidate], 1, container_id="c0ffee", source="test")
    try:
        (holder,) = (one for one in list_holders() if one.gpu == GPU)
        assert holder.uid == os.geteuid()
        text = describe_holder(holder)
        assert text.isprintable()
        assert "c0ffee" in text
    finally:
        release(taken)
    assert not any(one.gpu == GPU for one in list_holders())
