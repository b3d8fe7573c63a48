"""One store, two hosts, no locks: one works, the other waits, or takes over when it dies or sleeps.

A host is a mount, pid and UTS namespace with a boot id of its own. Locks are refused by a library
loaded before libc, with what Lustre says without ``-o flock``: ENOSYS.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.images.catalogue import list_names
from sampan.images.examining import examine_store
from sampan.images.prune import PruneOptions, prune
from sampan.images.store import find_image
from sampan.images.store_layout import StoreLayout
from support.compiled import compile_library
from support.layouts import LayoutMaker, make_tar, named

pytestmark = pytest.mark.integration

NO_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>

typedef int (*real_t)(int, int, ...);

static int refuse_locks(const char *name, int fd, int command, void *argument)
{
    if (command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_SETLK
        || command == F_SETLKW) {
        errno = ENOSYS;
        return -1;
    }
    return ((real_t)dlsym(RTLD_NEXT, name))(fd, command, argument);
}

#define SHIM(name) \
    int name(int fd, int command, ...) \
    { \
        va_list words; \
        va_start(words, command); \
        void *argument = va_arg(words, void *); \
        va_end(words); \
        return refuse_locks(#name, fd, command, argument); \
    }
SHIM(fcntl)
SHIM(fcntl64)

int flock(int fd, int operation)
{
    (void)fd, (void)operation;
    errno = ENOSYS;
    return -1;
}
"""

HOST = """
set -e
mount --make-rprivate /
echo "$1" > "$2/boot-$1"
mount --bind "$2/boot-$1" /proc/sys/kernel/random/boot_id
hostname "$1"
shift 2
exec "$@"
"""

IMPORT = """
import os, signal, sys
from sampan.images.importer import import_image
from sampan.images.store_layout import StoreLayout
from sampan.kernel import leases

leases.BEAT_S, leases.PATIENCE_S = 0.1, 2.0
source, root, pause_at = sys.argv[1:4]
said = set()

def tell(event):
    word = event.stage if event.stage == "wait" else event.kind
    if word not in said:
        said.add(word)
        print(word, flush=True)
    if word == pause_at:
        print("paused", flush=True)
        sys.stdin.readline()

image = import_image(source, "shared", store=StoreLayout(root), progress=tell)
print("done", image.digest, flush=True)
"""

NOISE = make_tar({"noise": os.urandom(2 << 20), "etc/name": b"noise"})


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shim")
    (place / "no_locks.c").write_text(NO_LOCKS)
    return compile_library(place / "no_locks.c", place / "libno_locks.so", "libno_locks.so")


class Site:
    """A store that several hosts have mounted."""

    def __init__(self, place: Path, shim: Path) -> None:
        self.place = place
        self.shim = shim
        self.store = StoreLayout(str(place / "store"))
        maker = LayoutMaker(place / "layout")
        maker.write_index([named(maker.add_image([NOISE]), "n")])
        self.source = f"oci:{maker.root}:n"
        self.started: list[subprocess.Popen[str]] = []

    def run(self, host: str, *command: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc",
             "sh", "-c", HOST, "sh", host, str(self.place), *command],
            env={**os.environ, "LD_PRELOAD": str(self.shim), "SAMPAN_STORE": self.store.root,
                 "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def start_import(self, host: str, *, pause_at: str = "") -> "subprocess.Popen[str]":
        return self.run(host, sys.executable, "-c", IMPORT, self.source, self.store.root, pause_at)

    def leases(self) -> list[str]:
        return [name for name in os.listdir(self.store.locks) if ".lease" in name]


@pytest.fixture
def site(tmp_path: Path, shim: Path) -> Iterator[Site]:
    probe = ["unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "true"]
    done = subprocess.run(probe, capture_output=True, text=True)
    if os.geteuid() != 0 or done.returncode != 0 or shutil.which("hostname") is None:
        pytest.skip(f"no namespaces that could stand for hosts: {done.stderr.strip()}")
    made = Site(tmp_path, shim)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[:1] == [word]:
            return
    assert process.stderr is not None
    pytest.fail(f"ended before {word}: {process.stderr.read()}")


def inner_pid(process: "subprocess.Popen[str]") -> int:
    """The program itself, below unshare."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


def end(process: "subprocess.Popen[str]") -> str:
    out, problem = process.communicate("\n", timeout=60)
    assert process.returncode == 0, problem
    return out


def check(site: Site) -> None:
    assert examine_store(site.store, is_quick=False).findings == ()
    assert [name.reference.familiar for name in list_names(site.store)] == ["shared:latest"]


def test_the_store_says_why_it_uses_leases(site: Site) -> None:
    assert "done" in end(site.start_import("one"))
    mark = Path(site.store.locks, "leases").read_text()
    assert mark.startswith("locking says: Function not implemented")
    assert site.leases() == []
    check(site)


def test_one_host_works_and_the_other_waits_and_finds_it_done(site: Site) -> None:
    first = site.start_import("one", pause_at="layer")
    read_until(first, "paused")
    second = site.start_import("two")
    read_until(second, "wait")
    assert "done" in end(first)
    said = end(second)
    assert "done" in said
    assert "link" not in said
    check(site)


def test_when_the_working_host_dies_the_other_takes_over(site: Site) -> None:
    first = site.start_import("one", pause_at="layer")
    read_until(first, "paused")
    second = site.start_import("two")
    read_until(second, "wait")
    first.kill()
    first.communicate()
    assert "done" in end(second)
    assert find_image("shared", store=site.store) is not None
    # What the dead host left is no danger, and the next prune takes it away.
    assert examine_store(site.store, is_quick=False).damage == ()


def test_a_host_that_sleeps_too_long_is_succeeded_and_does_no_harm_when_it_wakes(
    site: Site,
) -> None:
    first = site.start_import("one", pause_at="layer")
    read_until(first, "paused")
    second = site.start_import("two")
    read_until(second, "wait")
    sleeper = inner_pid(first)
    os.kill(sleeper, signal.SIGSTOP)
    assert "done" in end(second)
    before = find_image("shared", store=site.store)
    assert before is not None
    content = Path(before.sif_path).read_bytes()
    os.kill(sleeper, signal.SIGCONT)
    assert "done" in end(first)
    assert Path(before.sif_path).read_bytes() == content
    check(site)
    assert site.leases() == []


def test_a_prune_on_one_host_waits_for_an_import_on_another(site: Site) -> None:
    first = site.start_import("one", pause_at="layer")
    read_until(first, "paused")
    pruning = site.run("two", sys.executable, "-m", "sampan", "prune", "--all")
    with contextlib.suppress(subprocess.TimeoutExpired):
        pruning.wait(2)
        pytest.fail("the prune did not wait")
    assert "done" in end(first)
    # What was used since it was typed stays.
    assert end(pruning) == "Freed 0B\n"
    check(site)


def test_this_host_follows_the_mark_though_its_own_locks_work(site: Site) -> None:
    end(site.start_import("one"))
    prune(site.store, PruneOptions(all_packs=True), in_use=set(), now=1e12)
    assert not [name for name in os.listdir(site.store.locks) if name.startswith("store.lock.")]
    assert site.leases() == []
