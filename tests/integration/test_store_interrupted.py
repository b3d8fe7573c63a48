"""The store's own commands killed at each step, on full and read-only disks: nothing good is lost."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.images.examining import examine_store
from sampan.images.exporting import export_images
from sampan.images.importer import import_image
from sampan.images.store import find_image
from sampan.images.store_layout import StoreLayout
from sampan.kernel.libc import MNT_DETACH, umount
from support.layouts import LayoutMaker, named
from support.stores import BASE, NAMES, TOPS, files, flip, two_images

pytestmark = pytest.mark.integration

KILLED_AT = """
import os, sys
left = int(sys.argv[1])

def counted(call):
    def act(*words, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return call(*words, **options)
    return act

for name in ("rename", "unlink", "fsync", "makedirs"):
    setattr(os, name, counted(getattr(os, name)))
from sampan.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
"""The program, killed before its N-th change of a name or its N-th sync."""

UID = 65501
OTHER_USER = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")


def sampan(
    store: StoreLayout, *words: str, before: tuple[str, ...] = (), step: int | None = None
) -> "subprocess.CompletedProcess[str]":
    program = ["-m", "sampan"] if step is None else ["-c", KILLED_AT, str(step)]
    variables = {**os.environ, "SAMPAN_STORE": store.root, "PYTHONPATH": ":".join(sys.path)}
    command = [*before, sys.executable, *program, *words]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)


def other_image(tmp_path: Path, store: StoreLayout) -> str:
    """A store that has another image by the name ``one:1``; its id."""
    maker = LayoutMaker(tmp_path / "other-layout")
    maker.write_index([named(maker.add_image([TOPS[2]]), "o")])
    return import_image(f"oci:{maker.root}:o", "one:1", store=store).digest


def id_of(store: StoreLayout, name: str) -> str:
    found = find_image(name, store=store)
    return found.digest if found is not None else ""


def steps_until_done(run: "subprocess.CompletedProcess[str]") -> bool:
    """Whether it was not killed any more."""
    assert run.returncode in (0, 1, -9), run.stderr
    return run.returncode != -9


def test_an_import_killed_at_each_step_loses_no_image_and_goes_on(tmp_path: Path) -> None:
    source = two_images(tmp_path)
    export_images(source, ["one:1"], f"{tmp_path}/e")
    new = id_of(source, "one:1")
    fresh = StoreLayout(f"{tmp_path}/fresh")
    old = other_image(tmp_path, fresh)
    for step in range(200):
        store = StoreLayout(f"{tmp_path}/target")
        shutil.rmtree(store.root, ignore_errors=True)
        shutil.copytree(fresh.root, store.root)
        done = steps_until_done(sampan(store, "store", "import", f"{tmp_path}/e", step=step))
        assert id_of(store, "one:1") in (old, new)
        assert examine_store(store, is_quick=False).damage == ()
        if done:
            break
        if step % 5 == 0:
            assert sampan(store, "store", "import", f"{tmp_path}/e").returncode == 0
            assert id_of(store, "one:1") == new
            assert examine_store(store, is_quick=True).damage == ()
    assert step > 10
    assert id_of(store, "one:1") == new


def test_a_repair_killed_at_each_step_is_finished_by_the_next(tmp_path: Path) -> None:
    damaged = two_images(tmp_path)
    image = find_image("one:1", store=damaged)
    assert image is not None
    flip(Path(image.sif_path), -5000)
    packs = sorted(Path(damaged.packs("zstd")).glob("*.pack"), key=lambda path: path.stat().st_size)
    Path(damaged.refs, min(os.listdir(damaged.refs))).write_text("{")
    # The first is the other image's own layer or this one's: each small, neither the base.
    flip(packs[1], 5)
    for step in range(200):
        store = StoreLayout(f"{tmp_path}/target")
        shutil.rmtree(store.root, ignore_errors=True)
        shutil.copytree(damaged.root, store.root)
        done = steps_until_done(sampan(store, "store", "repair", step=step))
        sampan(store, "store", "repair")
        assert examine_store(store, is_quick=False).damage == ()
        assert id_of(store, "nvcr.io/org/two:2")
        if done:
            break
    assert step > 5


def test_an_export_killed_at_each_step_gives_the_same_bytes_at_last(tmp_path: Path) -> None:
    store = two_images(tmp_path)
    export_images(store, [], f"{tmp_path}/expected")
    before = files(store)
    for step in range(50):
        target = tmp_path / f"e{step}"
        done = steps_until_done(sampan(store, "store", "export", "-o", str(target), step=step))
        # The last step is the sync of the directory.
        assert target.exists() == (step >= 2)
        sampan(store, "store", "export", "-o", str(target))
        assert target.read_bytes() == (tmp_path / "expected").read_bytes()
        if done:
            break
    assert step == 3
    assert files(store) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB; enough for one base layer, not for an image of it too."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(place)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        pytest.skip(f"this kernel does not let a tmpfs be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        umount(str(place), MNT_DETACH)


def grow(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", str(place)], check=True)


def test_an_export_onto_a_full_disk_says_the_bytes_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    store = two_images(tmp_path)
    subprocess.run(["mount", "-o", "remount,size=200k", str(small_disk)], check=True)
    target = small_disk / "e"
    done = sampan(store, "store", "export", "-o", str(target))
    assert done.returncode == 125
    assert "error[store-export]" in done.stderr
    assert "No space left on device; the export has" in done.stderr
    assert not target.exists()
    grow(small_disk)
    assert sampan(store, "store", "export", "-o", str(target)).returncode == 0
    export_images(store, [], f"{tmp_path}/expected")
    assert target.read_bytes() == (tmp_path / "expected").read_bytes()


def test_an_import_into_a_full_disk_keeps_the_layers_and_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    source = two_images(tmp_path)
    export_images(source, [], f"{tmp_path}/e")
    store = StoreLayout(f"{small_disk}/store")
    old = other_image(tmp_path, store)
    done = sampan(store, "store", "import", f"{tmp_path}/e")
    assert done.returncode == 125
    assert "error[store]" in done.stderr
    assert "free there" in done.stderr or "are missing" in done.stderr
    assert id_of(store, "one:1") == old
    assert examine_store(store, is_quick=True).damage == ()
    grow(small_disk)
    assert sampan(store, "store", "import", f"{tmp_path}/e").returncode == 0
    assert all(id_of(store, name) == id_of(source, name) for name in NAMES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_who_may_only_read_a_store_may_check_and_not_repair_it(tmp_path: Path) -> None:
    # The directories above are the test's own; the other user must reach the store.
    place = Path(tempfile.mkdtemp(prefix="sampan-readers-"))
    place.chmod(0o755)
    try:
        store = two_images(place)
        before = files(store)
        done = sampan(store, "store", "check", before=OTHER_USER)
        assert done.returncode == 0, done.stderr
        assert "no room for a second link" in done.stdout
        done = sampan(store, "store", "du", before=OTHER_USER)
        assert done.returncode == 0, done.stderr
        assert sampan(store, "store", "repair", before=OTHER_USER).returncode == 125
        done = sampan(store, "prune", before=OTHER_USER)
        assert done.returncode == 125
        assert f"{store.locks}/store.lock: Permission denied" in done.stderr
        assert "SAMPAN_STORE=DIRECTORY" in done.stderr
        assert files(store) == before
    finally:
        shutil.rmtree(place)


def test_a_store_without_some_directories_is_completed(tmp_path: Path) -> None:
    store = two_images(tmp_path)
    for gone in (store.packs("gzip"), store.diffs("gzip"), store.partials, store.locks):
        shutil.rmtree(gone)
    assert sampan(store, "store", "check").returncode == 0
    assert sampan(store, "store", "du").returncode == 0
    assert sampan(store, "store", "list").returncode == 0
    assert sampan(store, "store", "repair").returncode == 0
    maker = LayoutMaker(tmp_path / "more")
    maker.write_index([named(maker.add_image([BASE, TOPS[2]]), "m")])
    assert sampan(store, "import", "-q", f"oci:{maker.root}:m", "more").returncode == 0
