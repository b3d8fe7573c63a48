"""Two users' idle GPUs never collide; a lease ends with whoever held it, however that died."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest

from sampan.engines.leases import (
    GpuLeasedError,
    Lease,
    choose_unleased,
    lease_idle,
    list_holders,
    release,
    take_over,
)
from sampan.gpus.idle import Candidate
from sampan.kernel import claims
from sampan.kernel.claims import claim_name

pytestmark = pytest.mark.integration

STARTER = """
import json, os, sys
from sampan.engines.leases import GpuLeasedError, lease_idle
from sampan.gpus.idle import Candidate
wanted, names = int(sys.argv[1]), sys.argv[2:]
candidates = [Candidate(name, str(place), "", False) for place, name in enumerate(names)]
sys.stdin.readline()
try:
    leases = lease_idle(candidates, wanted, container_id="c%d" % os.getpid(), source="--gpus idle")
    print(json.dumps([lease.gpu for lease in leases]), flush=True)
except GpuLeasedError as error:
    print(json.dumps(error.evidence), flush=True)
sys.stdin.readline()
"""


def make_names(number: int) -> list[str]:
    """Names that nobody else on this machine has."""
    return [f"GPU-{uuid.uuid4()}" for _ in range(number)]


def candidates(names: list[str]) -> list[Candidate]:
    return [Candidate(name, str(place), "", busy=False) for place, name in enumerate(names)]


def take(names: list[str], wanted: int = 1) -> tuple[Lease, ...]:
    return lease_idle(candidates(names), wanted, container_id="c0ffee", source="--gpus idle:1")


class Starters:
    """Processes that lease at the same moment and hold until told."""

    def __init__(self, number: int, wanted: int, names: list[str]) -> None:
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", STARTER, str(wanted), *names],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # As root each starter is another user's.
                user=20_000 + place if os.getuid() == 0 else None,
                extra_groups=[] if os.getuid() == 0 else None,
            )
            for place in range(number)
        ]

    def start(self) -> list[object]:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [json.loads(process.stdout.readline()) for process in self.processes]  # type: ignore[union-attr]

    def end(self) -> None:
        for process in self.processes:
            process.communicate("\n")


@pytest.fixture
def starters() -> Iterator[list[Starters]]:
    made: list[Starters] = []
    yield made
    for each in made:
        for process in each.processes:
            process.kill()
            process.wait()
        for process in each.processes:
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()


def test_twenty_starters_of_different_users_get_twenty_gpus(starters: list[Starters]) -> None:
    names = make_names(20)
    starters.append(Starters(20, 1, names))
    answers = starters[0].start()
    given = Counter(gpu for answer in answers for gpu in answer)  # type: ignore[attr-defined]
    assert given == Counter(names)


def test_of_twenty_starters_for_seven_gpus_seven_are_served(starters: list[Starters]) -> None:
    names = make_names(7)
    starters.append(Starters(20, 1, names))
    answers = starters[0].start()
    given = [gpu for answer in answers if isinstance(answer, list) for gpu in answer]
    assert sorted(given) == sorted(names)
    refusals = [answer for answer in answers if isinstance(answer, str)]
    assert len(refusals) == 13
    assert all("container c" in text for text in refusals)


def test_wishes_for_two_are_met_wholly_or_not_at_all(starters: list[Starters]) -> None:
    names = make_names(5)
    starters.append(Starters(8, 2, names))
    answers = starters[0].start()
    given = [gpu for answer in answers if isinstance(answer, list) for gpu in answer]
    assert len(given) == 4
    assert len(set(given)) == 4


def test_a_holder_that_is_killed_frees_its_gpu_at_once(starters: list[Starters]) -> None:
    names = make_names(1)
    starters.append(Starters(1, 1, names))
    assert starters[0].start() == [names]
    with pytest.raises(GpuLeasedError):
        take(names)
    process = starters[0].processes[0]
    process.send_signal(signal.SIGKILL)
    process.wait()
    (lease,) = take(names)
    release(lease)


def test_a_refusal_says_who_holds_what(starters: list[Starters]) -> None:
    names = make_names(1)
    starters.append(Starters(1, 1, names))
    starters[0].start()
    pid = starters[0].processes[0].pid
    with pytest.raises(GpuLeasedError, match="0 of 1 can be leased") as refusal:
        take(names)
    evidence = refusal.value.evidence
    assert f"process {pid}, container c{pid}, since 20" in evidence
    assert names[0] in evidence
    if os.getuid() == 0:
        assert "user 20000" in evidence


def test_nobody_can_sign_for_another_users_lease() -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, to be two users")
    names = make_names(1)
    (lease,) = take(names)
    forged = f"sampan-gpu/{names[0]}/1/somebody/1"
    program = f"from sampan.kernel.claims import claim_name as c; s = c({forged!r}); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=20_000,
        extra_groups=[],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        (holder,) = (one for one in list_holders() if one.gpu == names[0])
        assert (holder.uid, holder.pid, holder.container_id) == (0, os.getpid(), "c0ffee")
        other.communicate(b"\n")
    release(lease)


def test_a_gate_that_nobody_opens_does_not_stop_anybody() -> None:
    gate = claim_name("sampan-gpu")
    try:
        for lease in take(make_names(1)):
            release(lease)
    finally:
        if gate is not None:
            gate.close()


def test_explaining_chooses_without_leasing() -> None:
    names = make_names(2)
    (lease,) = take(names)
    assert choose_unleased(candidates(names), 1, source="--gpus idle:1") == (names[1],)
    with pytest.raises(GpuLeasedError):
        choose_unleased(candidates(names), 2, source="--gpus idle:2")
    release(lease)


def test_a_fork_that_takes_over_is_named_as_the_holder() -> None:
    names = make_names(1)
    leases = take(names)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            kept = take_over(leases)
            os.write(writer, b".")
            os.close(writer)
            signal.pause()
            release(kept[0])
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"."
    os.close(reader)
    for lease in leases:
        release(lease)
    (holder,) = (one for one in list_holders() if one.gpu == names[0])
    assert holder.pid == child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not [one for one in list_holders() if one.gpu == names[0]]


def test_where_the_kernel_names_no_owners_leases_are_still_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> list[tuple[bytes, int]]:
        raise PermissionError

    names = make_names(1)
    (lease,) = take(names)
    monkeypatch.setattr(claims, "_ask_sock_diag", refuse)
    with pytest.raises(GpuLeasedError) as refusal:
        take(names)
    assert f"an unknown user, process {os.getpid()}, container c0ffee" in refusal.value.evidence
    release(lease)


def test_other_sockets_of_the_host_are_no_leases() -> None:
    names = make_names(1)
    other = claim_name(f"{names[0]}/sampan-gpu/")
    strange = claim_name(f"sampan-gpu/{names[0]}/a\nb/1/c/2")
    assert not [holder for holder in list_holders() if names[0] in holder.gpu]
    for made in (other, strange):
        assert made is not None
        made.close()
