"""Leases: one holder at a time, the dead succeeded, the paused one harmless."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.kernel import leases
from sampan.kernel.leases import leased
from sampan.kernel.lock_support import find_lock_trouble, judge_mount

HOLDER = """
import sys, time
from sampan.kernel import leases
leases.BEAT_S = 0.05
if sys.argv[2] == "elsewhere":
    leases._identity = lambda pid: {"host": "other", "boot": "x", "namespace": 1, "pid": 1, "started": 1}
with leases.leased(sys.argv[1], shared=sys.argv[3] == "shared") as lease:
    lease.leave_note(b"half")
    print("held", flush=True)
    sys.stdin.readline()
    print(lease.is_held(), flush=True)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT_S", 0.05)
    monkeypatch.setattr(leases, "PATIENCE_S", 1.0)
    monkeypatch.setattr(leases, "_POLL_S", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "x.lease")


Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold(path: str) -> Iterator[Hold]:
    """Starts a process that holds the lease until it is told to end."""
    holders = []

    def start(where: str = "here", how: str = "alone") -> "subprocess.Popen[str]":
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path, where, how],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def end(holder: "subprocess.Popen[str]") -> str:
    return holder.communicate("\n")[0].strip()


def test_threads_exclude_each_other_and_nothing_is_left(path: str, tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(5):
            with leased(path):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 30
    assert max(most) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_waiter_hears_the_holders_note_and_gets_in_when_he_ends(
    where: str, path: str, hold: Hold
) -> None:
    holder = hold(where)
    notes = []

    def waiting(note: bytes) -> None:
        notes.append(note)
        if note and holder.poll() is None:
            assert end(holder) == "True"

    with leased(path, waiting=waiting) as lease:
        assert lease.is_held()
    assert b"half" in notes


def test_a_holder_of_this_machine_that_was_killed_is_succeeded_at_once(
    path: str, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PATIENCE_S", 1e9)
    holder = hold()
    holder.kill()
    holder.communicate()
    with leased(path) as lease:
        assert lease.is_held()


@pytest.mark.parametrize("how", ["alone", "shared"])
def test_a_holder_elsewhere_that_was_killed_is_succeeded_when_it_stays_silent(
    how: str, path: str, hold: Hold
) -> None:
    holder = hold("elsewhere", how)
    holder.kill()
    holder.communicate()
    waits = []
    with leased(path, waiting=waits.append) as lease:
        assert lease.is_held()
    assert waits


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_paused_holder_is_succeeded_and_does_no_harm_when_it_wakes(
    where: str, path: str, hold: Hold, tmp_path: Path
) -> None:
    holder = hold(where)
    holder.send_signal(signal.SIGSTOP)
    with leased(path) as lease:
        holder.send_signal(signal.SIGCONT)
        assert end(holder) == "False"
        assert lease.is_held()
    assert os.listdir(tmp_path) == []


def test_a_holder_at_work_is_never_succeeded(path: str, hold: Hold) -> None:
    holder = hold("elsewhere")
    waits = []

    def waiting(_: bytes) -> None:
        waits.append(time.monotonic())
        # Three times as long as a silent one is waited for.
        if waits[-1] - waits[0] > 3 and holder.poll() is None:
            assert end(holder) == "True"

    with leased(path, waiting=waiting):
        assert waits[-1] - waits[0] > 3


def test_shared_holders_let_each_other_in_and_an_exclusive_one_waits(path: str, hold: Hold) -> None:
    holders = [hold("here", "shared"), hold("elsewhere", "shared")]
    with leased(path, shared=True) as lease:
        assert lease.is_held()
    ended = []

    def waiting(_: bytes) -> None:
        if holders:
            ended.append(end(holders.pop()))

    with leased(path, waiting=waiting):
        assert ended == ["True", "True"]


def test_a_shared_holder_waits_for_an_exclusive_one(path: str, hold: Hold) -> None:
    holder = hold()
    waits = []

    def waiting(note: bytes) -> None:
        waits.append(note)
        if holder.poll() is None:
            assert end(holder) == "True"

    with leased(path, shared=True, waiting=waiting):
        assert waits


def test_a_file_system_without_links_gives_leases_too(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with leased(path) as lease:
        assert lease.is_held()
        assert leases._try_to_take(path) is None
    assert not os.path.exists(path)


def test_a_lease_that_says_nothing_is_waited_for_and_then_taken(path: str) -> None:
    Path(path).write_bytes(b"")
    waits = []
    with leased(path, waiting=waits.append):
        assert waits


@pytest.mark.parametrize(
    ("kind", "options", "is_trouble"),
    [
        ("ext4", "rw,relatime", False),
        ("lustre", "rw,flock,lazystatfs", False),
        ("lustre", "rw,localflock", True),
        ("lustre", "rw,lazystatfs", True),
        ("nfs4", "rw,vers=4.2,local_lock=none", False),
        ("nfs", "rw,vers=3,nolock,local_lock=all", True),
        ("nfs", "rw,vers=3,local_lock=posix", True),
        ("nfs", "rw,vers=3,local_lock=flock", False),
        ("beegfs", "rw", True),
        ("fuse.sshfs", "rw", True),
        ("gpfs", "rw", False),
    ],
)
def test_mounts_whose_locks_stay_within_a_host_are_known(
    kind: str, options: str, is_trouble: bool
) -> None:
    assert bool(judge_mount(kind, options.split(","))) == is_trouble


def test_this_machines_own_disk_has_locks(tmp_path: Path) -> None:
    assert find_lock_trouble(str(tmp_path)) == ""
