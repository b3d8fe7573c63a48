"""Cuts, interrupts and kill -9 in the middle of a pull: what was done stays done, nothing is lost."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.engines.pull import PullOptions, pull_image
from sampan.images.catalogue import list_names, list_records, remove_image
from sampan.images.partial import list_partials
from sampan.images.prune import PruneOptions, prune
from sampan.images.store import find_image, has_image
from sampan.images.store_layout import StoreLayout
from support.engine_host import wait_until
from support.layouts import LayoutMaker, make_tar, named
from support.pull_host import Drip, children_of, events_of, pull_environment, start_pull
from support.registries import IMPATIENT, Front, front, layout_backend

pytestmark = pytest.mark.integration

RANDOM = random.Random(9)
SMALL = make_tar({"etc": None, "etc/name": b"small"})
LARGE = make_tar({"noise": RANDOM.randbytes(3 << 20)})
THREE = [make_tar({f"layer{n}": RANDOM.randbytes(3 << 19)}) for n in range(3)]
WIDE = [make_tar({f"wide{n}": RANDOM.randbytes(5 << 20)}) for n in range(3)]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> LayoutMaker:
    maker = LayoutMaker(tmp_path_factory.mktemp("registry") / "layout")
    maker.write_index([
        named(maker.add_image([SMALL]), "old"),
        named(maker.add_image([SMALL, LARGE]), "slow"),
        named(maker.add_image([SMALL, *THREE]), "three"),
        named(maker.add_image([SMALL, *WIDE]), "wide"),
    ])  # fmt: skip
    return maker


@pytest.fixture
def registry(layout: LayoutMaker) -> Iterator[Front]:
    with front(layout_backend(layout.root)) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(str(tmp_path / "store"))


def blob_of(layout: LayoutMaker, size: int) -> str:
    """The blob whose size is next to this."""
    blobs = layout.root.glob("blobs/sha256/*")
    return min(blobs, key=lambda path: abs(path.stat().st_size - size)).name


def pull(registry: Front, store: StoreLayout, tag: str) -> str:
    return pull_image(
        f"{registry.host}/a:{tag}",
        store=store,
        environment={"HOME": "/nonexistent"},
        options=PullOptions(settings=IMPATIENT),
    ).digest


def temporaries(store: StoreLayout) -> list[Path]:
    return list(Path(store.root).rglob(".tmp-*"))


def test_what_a_slow_link_brought_before_a_kill_is_not_fetched_again(
    registry: Front, layout: LayoutMaker, store: StoreLayout, tmp_path: Path
) -> None:
    slow = blob_of(layout, 3 << 20)
    # 100 kB/s: the rest of 3 MB would take half a minute.
    registry.intercept = drip = Drip(10_000, 0.1, only=(slow,))

    def kept() -> int:
        return sum(os.path.getsize(path) for path in list_partials(store))

    with start_pull(store, f"{registry.host}/a:slow", tmp_path) as process:
        wait_until(lambda: kept() > 50_000, what="kept bytes")
        process.kill()
    drip.release()
    (path,) = list_partials(store)
    first = int(path.rpartition(".")[2])
    end = first + kept()
    before = len(registry.seen)
    pull(registry, store, "slow")
    asked = [headers.get("Range") for _, url, headers in registry.seen[before:] if slow in url]
    assert 0 < first < end
    assert asked == [f"bytes=0-{first - 1}", f"bytes={end}-"]
    assert list(list_partials(store)) == []


def test_who_waits_for_a_layer_sees_how_far_it_is_and_takes_over_after_a_kill(
    registry: Front, layout: LayoutMaker, store: StoreLayout, tmp_path: Path
) -> None:
    slow = blob_of(layout, 3 << 20)
    registry.intercept = drip = Drip(50_000, 0.1, only=(slow,))
    name = f"{registry.host}/a:slow"
    with (
        start_pull(store, name, tmp_path, "--json") as worker,
        start_pull(store, name, tmp_path, "--json") as other,
    ):
        processes = {"worker": worker, "other": other}
        for event in events_of(worker):
            if event["event"] == "layer" and event["done"] and event["total"] > 1 << 20:
                break
        # Whichever has the lock: the one that waits says so, and how far the other is.
        if event["stage"] == "wait":
            processes = {"worker": other, "other": worker}
        for event in events_of(processes["other"]):
            if event["event"] == "layer" and event["stage"] == "wait" and event["done"] > 100_000:
                break
        processes["worker"].kill()
        drip.release()
        heard = list(events_of(processes["other"]))
        assert processes["other"].wait() == 0
    assert any(event.get("stage") == "done" for event in heard)
    assert heard[-1]["event"] == "done"
    assert len(registry.paths(slow)) == 2
    assert find_image(name, store=store) is not None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_pull_keeps_whole_layers_and_no_rubbish(
    registry: Front,
    layout: LayoutMaker,
    store: StoreLayout,
    tmp_path: Path,
    number: int,
    code: int,
) -> None:
    slow = blob_of(layout, 5 << 20)
    registry.intercept = Drip(50_000, 0.1, only=(slow,))
    with start_pull(store, f"{registry.host}/a:wide", tmp_path, "--json") as process:
        fetched = set()
        for event in events_of(process):
            if event["event"] == "layer":
                fetched.add((event["layer"] == slow[:12], event["stage"]))
            if {(False, "done"), (True, "fetch")} <= fetched:
                break
        workers = children_of(process.pid)
        assert workers
        process.send_signal(number)
        assert process.wait(20) == code
    assert temporaries(store) == []
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert list(Path(store.packs("zstd")).glob("*.index"))
    assert list_names(store) == []


@pytest.mark.parametrize("command", ["push", "copy"])
def test_ctrl_c_ends_a_transfer_whose_server_says_nothing(
    registry: Front, store: StoreLayout, tmp_path: Path, command: str
) -> None:
    pull(registry, store, "wide")
    name = f"{registry.host}/a:wide"
    reached, released = threading.Event(), threading.Event()

    def say_nothing(handler: Any) -> bool:
        if "/blobs/" in handler.path:
            reached.set()
            released.wait()
        return "/blobs/" in handler.path

    registry.intercept = say_nothing
    target = f"{registry.host}/b:1" if command == "push" else f"oci:{tmp_path / 'out'}:1"
    with subprocess.Popen(
        [sys.executable, "-m", "sampan", command, name, target],
        env=pull_environment(store, tmp_path),
        stderr=subprocess.DEVNULL,
    ) as process:
        assert reached.wait(20)
        process.send_signal(signal.SIGINT)
        # Far below the minute that a read may take.
        try:
            assert process.wait(20) == 130
        finally:
            released.set()
            process.kill()


def test_a_worker_whose_parent_was_killed_ends_though_its_server_says_nothing(
    registry: Front, layout: LayoutMaker, store: StoreLayout, tmp_path: Path
) -> None:
    registry.intercept = drip = Drip(50_000, 60.0, only=("/blobs/",))
    with start_pull(store, f"{registry.host}/a:wide", tmp_path) as process:
        drip.release()
        wait_until(lambda: len(children_of(process.pid)) > 1, what="worker processes")
        workers = children_of(process.pid)
        process.kill()
    wait_until(
        lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers),
        what="the workers' end",
    )


# One process that forks a pull for each line: interpreter and imports are paid for once.
FORK = """
import os, sys
from sampan.engines.pull import PullOptions, pull_image
from sampan.images.importer import ImportOptions
from sampan.images.store_layout import StoreLayout
from sampan.registry import adaptive, blob, hub
from sampan.registry.settings import Settings

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            options = PullOptions(settings=Settings(attempts=2, pause_s=0.01),
                                  importing=ImportOptions(processes=1))
            pull_image(sys.argv[1], store=StoreLayout(sys.argv[2]), environment={"HOME": "/"},
                       options=options)
            code = 0
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Forker:
    """Pulls that begin within a millisecond."""

    def __init__(self, name: str, store: StoreLayout, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORK, name, store.root],
            env=pull_environment(store, home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def start(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.say()


def visible_files(store: StoreLayout) -> dict[str, str]:
    """Digests of all that makes up images and packs, by name; a pack counts with its index alone."""
    found = {}
    for record in list_records(store):
        path = Path(store.image_file(record.digest, "sif"))
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for index in Path(store.packs("zstd")).glob("[!.]*.index"):
        for path in (index, index.with_suffix(".pack"), index.with_suffix(".headers")):
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def check_store(store: StoreLayout, old: str, good: dict[str, str]) -> None:
    """All that can be seen is byte for byte what an undisturbed pull makes, and the old image is there."""
    for name in list_names(store):
        assert has_image(store, name.image)
    assert old in {record.digest for record in list_records(store)}
    assert visible_files(store).items() <= good.items()


def test_a_hundred_kills_at_random_moments_lose_nothing_and_show_nothing_half(
    registry: Front, store: StoreLayout, tmp_path: Path
) -> None:
    undisturbed = StoreLayout(str(tmp_path / "undisturbed"))
    for tag in ("old", "three", "wide"):
        pull(registry, undisturbed, tag)
    good = visible_files(undisturbed)
    old = pull(registry, store, "old")
    # A little slow, so that many kills find layers on their way.
    registry.intercept = Drip(400_000, 0.01)
    name = f"{registry.host}/a:three"
    moments = random.Random(41)

    def forget() -> None:
        if find_image(name, store=store) is not None:
            remove_image(store, name, containers={})
        prune(store, PruneOptions(all_packs=True), in_use=set(), now=time.time())

    forker = Forker(name, store, tmp_path)
    with forker.process:
        begun = time.monotonic()
        forker.start()
        assert forker.say() == 0
        whole = time.monotonic() - begun
        forget()
        for number in range(85):
            pid = forker.start()
            time.sleep(moments.uniform(0, whole))
            # It may be through already.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            assert forker.say() in (0, signal.SIGKILL)
            check_store(store, old, good)
            if find_image(name, store=store) is not None:
                # It was through: there must be work for the next kill.
                forget()
            elif number % 3 == 2:
                # The next pull succeeds, whatever lies there.
                forker.start()
                assert forker.say() == 0
                check_store(store, old, good)
                assert find_image(name, store=store) is not None
                forget()
        assert forker.process.stdin is not None
        forker.process.stdin.close()
    # The same with worker processes, which must not live on.
    name = f"{registry.host}/a:wide"
    for _ in range(15):
        with start_pull(store, name, tmp_path) as process:
            time.sleep(moments.uniform(0.2, 1.2))
            workers = children_of(process.pid)
            process.kill()
        wait_until(
            lambda pids=workers: not any(Path(f"/proc/{pid}").exists() for pid in pids),
            what="the workers' end",
        )
        check_store(store, old, good)
    pull(registry, store, "wide")
    forget()
    check_store(store, old, good)
    assert temporaries(store) == []
