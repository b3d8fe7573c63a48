"""What the kernel shows of a linked image is what umoci and tar unpack from the same layers."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from sampan.images.limits import LayerError
from support.layer_stacks import (
    Item,
    Mounted,
    Record,
    link_tars,
    list_tree,
    make_tar,
    opaque,
    umoci_unpack,
    whiteout,
    why_no_kernel_mount,
    without_ours,
)

pytestmark = pytest.mark.integration

BLOCK = 131072


@pytest.fixture(scope="module", autouse=True)
def _needs_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    reason = why_no_kernel_mount(tmp_path_factory.mktemp("probe"))
    if reason:
        pytest.skip(f"the kernel mounts no squashfs here: {reason}")


@pytest.fixture
def needs_umoci() -> None:
    if not shutil.which("umoci"):
        pytest.skip("umoci is not installed")


def linked_tree(directory: Path, tars: list[bytes], compression: str = "zstd"):
    sif, _ = link_tars(directory, tars, compression=compression)
    with Mounted(sif, directory / "mounted") as point:
        return without_ours(list_tree(point))


_names = st.sampled_from(["a", "b", "c", "d"])
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)
_targets = st.one_of(_paths, _paths.map(lambda p: f"/{p}"), _paths.map(lambda p: f"../{p}"))
_xattrs = st.sampled_from(
    [(), (), (("user.note", "n"),), (("security.thing", "s"), ("user.note", "x" * 300)),
     (("trusted.thing", "t"),)]
)  # fmt: skip
_contents = st.sampled_from(
    [b"", b"one", b"two", b"z" * BLOCK, bytes(BLOCK) + b"end", random.Random(7).randbytes(200_000)]
)
_TIMES = [1, 1_500_000_000, 1_600_000_000.75, 3_000_000_000]
_attributes = {
    "mode": st.sampled_from([0o644, 0o755, 0o4755, 0o1777, 0o600]),
    "uid": st.sampled_from([0, 1000, 70000]),
    "gid": st.sampled_from([0, 5]),
    "mtime": st.sampled_from(_TIMES),
}


def _items(kind: str, **fields: st.SearchStrategy) -> st.SearchStrategy[Item]:
    # Every field is given: hypothesis would invent values even for those with a default.
    given_fields = {name: st.just(value) for name, value in Item._field_defaults.items()}
    return st.builds(
        Item, _paths, **{**given_fields, **_attributes, **fields, "kind": st.just(kind)}
    )


_files = _items("file", content=_contents, xattrs=_xattrs)
_directories = _items("dir", xattrs=_xattrs)
_others = st.one_of(
    _items("symlink", link=_targets),
    _items("hardlink", link=_paths),
    _items("fifo"),
    _items("char", device=st.just((10, 300))),
    _items("block", device=st.just((8, 1))),
)
_entries = st.lists(st.one_of(_directories, _files, _directories, _others), max_size=8)
_removals = st.lists(st.one_of(_paths.map(whiteout), _paths.map(opaque)), max_size=2)
_layers = st.lists(st.tuples(_removals, _entries), min_size=1, max_size=4)


def _repair(layers: list[tuple[list[Item], list[Item]]]) -> list[tuple[list[Item], list[Item]]]:
    """Make most stacks acceptable to umoci: parents that are files become directories first, and
    hard links name something that exists. What links do to paths is left to chance.
    """
    kinds: dict[str, str] = {}

    def forget(path: str) -> None:
        for known in [k for k in kinds if k == path or k.startswith(f"{path}/")]:
            del kinds[known]

    repaired = []
    for removals, entries in layers:
        for removal in removals:
            path = removal.path.replace(".wh..wh..opq", "*").replace(".wh.", "")
            for known in list(kinds):
                if path.endswith("*") and known.startswith(path[:-1]):
                    kinds.pop(known, None)
            forget(path)
        out: list[Item] = []
        for entry in entries:
            item = entry
            parts = item.path.split("/")
            for depth in range(1, len(parts)):
                above = "/".join(parts[:depth])
                if kinds.get(above, "dir") not in ("dir", "symlink"):
                    out.append(Item(above, "dir", mode=0o755))
                    kinds[above] = "dir"
            if item.kind == "hardlink":
                targets = sorted(k for k in kinds if kinds[k] != "dir" and k != item.path)
                if not targets:
                    continue
                item = item._replace(link=targets[len(out) % len(targets)])
            if not (item.kind == "dir" and kinds.get(item.path) == "dir"):
                forget(item.path)
            kinds[item.path] = item.kind
            out.append(item)
        repaired.append((removals, out))
    return repaired


_outcomes: Counter[str] = Counter()


def _goes_through_replaced_link(layers: list[tuple[list[Item], list[Item]]]) -> bool:
    """Whether a whiteout's parent was a link below and is a directory in the whiteout's layer.

    umoci acts in tar order and would remove through the link that is about to vanish; ours, like
    overlayfs, knows that nothing below such a directory is visible.
    """
    links: set[str] = set()
    for removals, entries in layers:
        directories = {item.path for item in entries if item.kind == "dir"}
        for removal in removals:
            parts = removal.path.split("/")[:-1]
            above = {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
            if above & directories & links:
                return True
        links |= {item.path for item in entries if item.kind in ("symlink", "hardlink")}
    return False


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_layers)
def test_any_stack_of_layers_looks_as_umoci_unpacks_it(tmp_path: Path, needs_umoci, stack) -> None:
    layers = _repair(stack)
    tars = [make_tar(removals + entries) for removals, entries in layers]
    rootfs, complaint = umoci_unpack(tars, tmp_path)
    if complaint or _goes_through_replaced_link(layers):
        event("umoci refuses" if complaint else "not comparable")
        _outcomes["not comparable"] += 1
        try:
            linked_tree(tmp_path, tars)
        except LayerError:
            event("we refuse too")
        return
    _outcomes["compared"] += 1
    expected = list_tree(rootfs)
    found = linked_tree(tmp_path, tars)
    assert found == _dated_as(found, expected)
    # Whiteouts mean the same after the entries they stand before.
    shuffled = [make_tar(entries + removals) for removals, entries in layers]
    assert linked_tree(tmp_path, shuffled) == found


def _dated_as(found: dict[str, Record], expected: dict[str, Record]) -> dict[str, Record]:
    """The expected tree, with our date for directories that umoci dated by its own clock.

    It does so where no layer declares the directory, and where it makes such a one inside.
    """
    dates = {int(moment) for moment in _TIMES}
    return {
        path: record
        if record.mtime in dates or path not in found
        else record._replace(mtime=found[path].mtime)
        for path, record in expected.items()
    }


def test_enough_of_the_generated_stacks_were_comparable() -> None:
    if not _outcomes:
        pytest.skip("the generated stacks were not run in this process")
    assert _outcomes["compared"] >= 75, _outcomes
