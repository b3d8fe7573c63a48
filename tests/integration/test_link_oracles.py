"""What the kernel shows of a linked image is what it shows of the same layers, extracted by tar and
laid over each other by overlayfs, and what umoci unpacks from them."""

import posixpath
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from sampan.images.importer import ImportEvent, import_image
from sampan.images.limits import LayerError
from sampan.images.store_layout import StoreLayout
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
    write_oci_layout,
)
from support.overlay_oracle import overlay_tree, why_no_overlay

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


@pytest.fixture(scope="module")
def needs_overlay(tmp_path_factory: pytest.TempPathFactory) -> None:
    reason = why_no_overlay(tmp_path_factory.mktemp("overlay"))
    if reason:
        pytest.skip(f"the kernel overlays no layers here: {reason}")


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


Stack = list[tuple[list[Item], list[Item]]]
"""Of each layer, what stands first in its tar (whiteouts, opaque marks) and the other entries."""


def _ancestors(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _repair(layers: Stack, *, alone: bool) -> Stack:
    """Make most stacks acceptable to the oracle: parents that are files become directories first,
    and hard links name something that exists. What links do to paths is left to chance.

    Args:
        alone: for an oracle that extracts each layer by itself, with tar: only what a layer itself
            holds becomes a directory first or the target of a hard link, and what tar would not
            do is left out.
    """
    kinds: dict[str, str] = {}
    leads: dict[str, str] = {}

    def forget(path: str) -> None:
        for known in [k for k in kinds if k == path or k.startswith(f"{path}/")]:
            del kinds[known]

    repaired = []
    for first, entries in layers:
        if alone:
            kinds.clear()
        for item in first:
            if item.kind == "dir":
                kinds[item.path] = "dir"
                continue
            path = item.path.replace(".wh..wh..opq", "*").replace(".wh.", "")
            for known in list(kinds):
                if path.endswith("*") and known.startswith(path[:-1]):
                    kinds.pop(known, None)
            forget(path)
            if alone:
                kinds[item.path] = "mark"
        out: list[Item] = []
        for entry in entries:
            item = entry
            if alone and _tar_would_not(item, kinds, leads):
                continue
            for above in _ancestors(item.path):
                if kinds.get(above, "dir") not in ("dir", "symlink"):
                    out.append(Item(above, "dir", mode=0o755))
                    kinds[above] = "dir"
            if item.kind == "hardlink":
                targets = sorted(
                    k for k in kinds if kinds[k] not in ("dir", "mark") and k != item.path
                )
                if not targets:
                    continue
                item = item._replace(link=targets[len(out) % len(targets)])
            if not (item.kind == "dir" and kinds.get(item.path) == "dir"):
                forget(item.path)
            kinds[item.path] = item.kind
            if item.kind == "symlink":
                leads[item.path] = posixpath.join(posixpath.dirname(item.path), item.link)
            out.append(item)
        repaired.append((first, out))
    return repaired


def _tar_would_not(item: Item, kinds: dict[str, str], leads: dict[str, str]) -> bool:
    """Whether GNU tar refuses or confuses the entry: one below a link that leads nowhere yet, or up
    or to the root; one in place of a link (it knows those by the inode of a placeholder) or of a
    directory with something in it.
    """
    for above in _ancestors(item.path):
        if kinds.get(above) == "hardlink":
            return True
        if kinds.get(above) == "symlink" and kinds.get(leads[above]) != "dir":
            return True
    if kinds.get(item.path) in ("symlink", "hardlink"):
        return True
    return item.kind != "dir" and any(known.startswith(f"{item.path}/") for known in kinds)


def _declare_parents(layers: Stack) -> Stack:
    """Have every layer declare all its parents first, as layers of most tools do: then a layer
    hides the links below by name, and following them (umoci) or not (overlayfs) is the same.
    """
    declared = []
    for first, entries in layers:
        above = sorted({path for item in first + entries for path in _ancestors(item.path)})
        declared.append(([*(Item(path, "dir", mode=0o755) for path in above), *first], entries))
    return declared


def _order_matters(layers: Stack) -> bool:
    """Whether a whiteout's own layer has (had) something else than a directory above it: a link
    leads elsewhere those whiteouts that follow it, a file takes away what precedes it.
    """
    for first, entries in layers:
        others = {item.path for item in entries if item.kind != "dir"}
        if any(others & set(_ancestors(item.path)) for item in first):
            return True
    return False


def _shows_lower_directory_again(layers: Stack) -> bool:
    """Whether a layer replaces a lower directory, then that by a directory. With overlayfs its last
    entry counts, and the lower one shows through; umoci has removed that by then.
    """
    below: set[str] = set()
    for first, entries in layers:
        others: set[str] = set()
        for item in first + entries:
            if item.kind != "dir":
                others.add(item.path)
            elif item.path in others and item.path in below:
                return True
        for item in first + entries:
            below |= {item.path, *_ancestors(item.path)}
    return False


_outcomes: Counter[str] = Counter()
_generated = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _refused(oracle: str, directory: Path, tars: list[bytes]) -> None:
    event(f"{oracle} refuses")
    _outcomes[f"refused by {oracle}"] += 1
    try:
        linked_tree(directory, tars)
    except LayerError:
        event("we refuse too")


@settings(_generated, max_examples=200)
@given(_layers)
def test_any_stack_of_layers_looks_as_overlayfs_shows_it(
    tmp_path: Path, needs_overlay, stack
) -> None:
    layers = _repair(stack, alone=True)
    tars = [make_tar(first + entries) for first, entries in layers]
    expected, complaint = overlay_tree(tars, tmp_path)
    if complaint:
        _refused("overlayfs", tmp_path, tars)
        return
    _outcomes["compared with overlayfs"] += 1
    found = linked_tree(tmp_path, tars)
    assert found == expected
    if any(first for first, _ in layers) and not _order_matters(layers):
        # Whiteouts mean the same after the entries they stand before.
        shuffled = [make_tar(entries + first) for first, entries in layers]
        assert linked_tree(tmp_path, shuffled) == found


@settings(_generated, max_examples=120)
@given(_layers)
def test_any_stack_that_declares_its_parents_looks_as_umoci_unpacks_it(
    tmp_path: Path, needs_umoci, stack
) -> None:
    layers = _repair(_declare_parents(stack), alone=False)
    tars = [make_tar(first + entries) for first, entries in layers]
    rootfs, complaint = umoci_unpack(tars, tmp_path)
    if complaint or _shows_lower_directory_again(layers):
        _refused("umoci", tmp_path, tars)
        return
    _outcomes["compared with umoci"] += 1
    found = linked_tree(tmp_path, tars)
    assert found == _dated_as(found, list_tree(rootfs))


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


@pytest.mark.parametrize("oracle", ["overlayfs", "umoci"])
def test_enough_of_the_generated_stacks_were_comparable(oracle: str) -> None:
    compared, refused = (_outcomes[f"{done} {oracle}"] for done in ("compared with", "refused by"))
    if not compared + refused:
        pytest.skip("the generated stacks were not run in this process")
    assert compared >= refused, _outcomes


_BELOW = [
    Item("usr", "dir", mode=0o755), Item("usr/lib", "dir", mode=0o711, uid=3),
    Item("usr/lib/old", content=b"old"), Item("usr/lib/sub/deep", content=b"deep"),
    Item("lib", "symlink", link="usr/lib"), Item("abs", "symlink", link="/usr/lib"),
    Item("file", content=b"file"), Item("usr/lib/chain", "symlink", link="../../abs"),
]  # fmt: skip

_ABOVE = {
    "entry below a link": [Item("lib/foo"), Item("lib/sub/foo", uid=5)],
    "entry below an absolute link": [Item("abs/foo")],
    "entry below a link to a link": [Item("usr/lib/chain/foo")],
    "entry below a file": [Item("file/foo")],
    "directory below a link": [Item("lib/sub", "dir", mode=0o700)],
    "whiteout below a link": [whiteout("lib/old")],
    "whiteout deep below a link": [whiteout("lib/sub/deep")],
    "whiteout below a file": [whiteout("file/foo")],
    "whiteout below nothing": [whiteout("not/there")],
    "opaque link": [opaque("lib")],
    "opaque file": [opaque("file")],
    "declared at the link": [Item("lib", "dir", mode=0o700), Item("lib/foo")],
    "own link": [
        Item("usr/lib", "dir"), Item("own", "symlink", link="usr/lib"), Item("own/foo"),
        whiteout("own/old"), Item("own/sub/more"),
    ],
    "own link to a lower link": [
        Item("lib/x"), Item("own", "symlink", link="lib"), Item("own/foo"),
    ],
    "own link at a lower link": [
        Item("other", "dir"), Item("lib", "symlink", link="other"), Item("lib/foo"),
    ],
    "removed link": [whiteout("lib"), Item("lib/foo")],
}  # fmt: skip


@pytest.mark.parametrize("case", _ABOVE)
def test_parents_that_are_links_look_as_overlayfs_shows_them(
    tmp_path: Path, needs_overlay, case: str
) -> None:
    tars = [make_tar(_BELOW), make_tar(_ABOVE[case])]
    expected, complaint = overlay_tree(tars, tmp_path)
    assert not complaint
    assert linked_tree(tmp_path, tars) == expected


def test_an_import_tells_of_the_link_that_a_layer_hides(tmp_path: Path) -> None:
    write_oci_layout(tmp_path / "oci", [make_tar(_BELOW), make_tar([Item("lib/foo")])])
    events: list[ImportEvent] = []
    import_image(
        f"oci:{tmp_path / 'oci'}:test", "x", store=StoreLayout(str(tmp_path / "store")),
        progress=events.append,
    )  # fmt: skip
    warnings = [event.text for event in events if event.kind == "warning"]
    assert len(warnings) == 1
    assert "hides the link lib -> usr/lib with a directory, as docker does" in warnings[0]
