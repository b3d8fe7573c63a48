"""An image asked for by digest stays when its tag moves on, and needs no network."""

import subprocess
import sys
from pathlib import Path

import pytest

from sampan.images.store import find_image
from sampan.images.store_layout import StoreLayout
from support.layouts import LayoutMaker, make_tar, named
from support.pull_host import pull_environment
from support.registries import front, layout_backend

pytestmark = pytest.mark.integration


def test_an_image_pinned_by_digest_outlives_its_tag_and_needs_no_registry(tmp_path: Path) -> None:
    store = StoreLayout(str(tmp_path / "store"))
    maker = LayoutMaker(tmp_path / "layout")
    first = maker.add_image([make_tar({"etc/one": b"1"})])
    second = maker.add_image([make_tar({"etc/two": b"2"})])

    def sampan(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sampan", *words],
            env=pull_environment(store, tmp_path), capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    maker.write_index([named(first, "v")])
    with front(layout_backend(maker.root)) as registry:
        name = f"{registry.host}/a"
        assert sampan("pull", f"{name}:v").returncode == 0
    pinned = f"{name}@{first['digest']}"
    # Nobody answers any more.
    done = sampan("pull", pinned)
    assert done.returncode == 0, done.stderr
    assert sampan("pull", "--policy", "never", pinned).returncode == 0
    old = find_image(pinned, store=store)
    assert old is not None
    assert old.name == pinned

    maker.write_index([named(second, "v")])
    maker2 = sampan("import", "-q", f"oci:{maker.root}:v", f"{name}:v")
    assert maker2.returncode == 0, maker2.stderr
    assert sampan("prune", "--all").returncode == 0
    again = find_image(pinned, store=store)
    assert again is not None
    assert again.digest == old.digest
    assert Path(again.sif_path).exists()

    # The pin is a name like any other, and is taken away as one.
    assert "Deleted" in sampan("rmi", pinned).stdout
    assert find_image(pinned, store=store) is None
