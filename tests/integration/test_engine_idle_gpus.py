"""Idle GPUs of two users on one host: each gets another one, and a dead container frees its own."""

import os
import pickle
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from sampan.engines.leases import Holder, list_holders
from support.described_host import describe, make_described_host
from support.engine_host import EngineHost, engine_host, wait_until

pytestmark = pytest.mark.integration

PROGRAM = """
import pickle, sys
from pathlib import Path
import sampan.driver.cache, sampan.injection.plan
from sampan.cli.main import main
inventory = pickle.loads(Path(sys.argv[1]).read_bytes())
sampan.driver.cache.current_inventory = lambda: inventory
import sampan.cli.gpus
sampan.cli.gpus.find_inventory = lambda _: inventory
# The tests' image is a static busybox.
sampan.injection.plan.require_suitable_image = lambda *_: None
sys.exit(main(sys.argv[2:]))
"""


class TwoGpus:
    """A host with two described GPUs, of which the second is in use; names nobody else has."""

    def __init__(self, host: EngineHost) -> None:
        self.host = host
        said = describe("two-gpus")
        self.names = [f"GPU-{uuid.uuid4()}" for _ in said["gpus"]]
        for gpu, name in zip(said["gpus"], self.names, strict=True):
            gpu["uuid"] = name
        said["gpus"][1]["compute_processes"] = [{"pid": 1, "memory_bytes": 1 << 30}]
        base = host.base / f"driver-{self.names[0]}"
        base.mkdir()
        inventory = make_described_host(base, said).take(nvml=True)
        self.file = base / "inventory"
        # This machine has no /proc/driver/nvidia to mount something over.
        self.file.write_bytes(pickle.dumps(inventory._replace(params="")))

    def run(self, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", PROGRAM, str(self.file)]
        return subprocess.run(
            self.host.command(*words, user=user, program=program),
            env=self.host.environment(user, PYTHONWARNINGS="ignore"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def idle(self, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        return self.run("run", "--rm", "--gpus", "idle:1", *words, user=user)

    def holders(self) -> list[Holder]:
        return [holder for holder in list_holders() if holder.gpu in self.names]


@pytest.fixture(scope="module")
def host() -> Iterator[EngineHost]:
    with engine_host() as made:
        yield made


@pytest.fixture
def two(host: EngineHost) -> Iterator[TwoGpus]:
    made = TwoGpus(host)
    yield made
    for holder in made.holders():
        os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not made.holders(), what="the leases to end")


def test_the_least_used_gpu_is_taken_and_given_back(two: TwoGpus) -> None:
    for _ in range(2):
        done = two.idle(
            "testimage", "sh", "-c", "ls /dev/nvidia[0-9]; echo $NVIDIA_VISIBLE_DEVICES"
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["/dev/nvidia0", "0"]
    assert not two.holders()


def test_two_users_get_two_gpus_and_the_third_is_told_who_has_them(two: TwoGpus) -> None:
    first = two.idle("-d", "testimage", "sleep", "1000")
    second = two.idle("-d", "testimage", "sleep", "1000", user="ordinary")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "not idle: 1 process" in second.stderr
    assert {holder.uid for holder in two.holders()} == {0, 4242}
    shown = two.run("gpus").stdout
    assert f"Leased: {two.names[1]} to user 4242, process" in shown
    third = two.idle("testimage", "true")
    assert third.returncode == 125
    assert "error[gpu-leased]" in third.stderr
    assert f"container {first.stdout[:12]}" in third.stderr
    assert "user 4242" in third.stderr


def test_a_supervisor_that_is_killed_frees_the_gpu(two: TwoGpus) -> None:
    done = two.idle("-d", "testimage", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    (holder,) = two.holders()
    assert holder.container_id == done.stdout[:12]
    os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not two.holders(), what="the lease to end")


def test_a_stopped_container_frees_the_gpu(two: TwoGpus) -> None:
    done = two.idle("-d", "--stop-timeout", "0", "testimage", "sleep", "1000")
    assert two.holders()
    assert two.run("stop", done.stdout.strip()).returncode == 0
    wait_until(lambda: not two.holders(), what="the lease to end")


def test_explaining_and_naming_take_no_lease(two: TwoGpus) -> None:
    done = two.run("run", "--rm", "-d", "--gpus", "device=0", "testimage", "sleep", "1")
    assert done.returncode == 0, done.stderr
    assert not two.holders()
