"""How layers become one tree: the rules, one sentence each, on layers made in memory."""

import itertools
import tracemalloc

import pytest

from sampan.images.limits import LayerError
from sampan.images.overlay import Merger, merge_layers
from sampan.images.tree import Node, number_inodes, resolve
from sampan.model.layer import Entry, EntryKind, PackIndex

_serial = itertools.count()


def entry(path: str, kind: EntryKind, link: str = "", mode: int = 0o644) -> Entry:
    return Entry(
        path.encode(), kind, mode, 0, 0, 10**9, link.encode(), (0, 0), (), -1
    )  # fmt: skip


def fifo(path: str, mode: int = 0o644) -> Entry:
    return entry(path, EntryKind.FIFO, mode=mode)


def directory(path: str, mode: int = 0o750) -> Entry:
    return entry(path, EntryKind.DIRECTORY, mode=mode)


def link(path: str, target: str) -> Entry:
    return entry(path, EntryKind.SYMLINK, target)


def hard(path: str, target: str) -> Entry:
    return entry(path, EntryKind.HARD_LINK, target)


def gone(path: str) -> Entry:
    return entry(path, EntryKind.WHITEOUT)


def opaque(path: str) -> Entry:
    return entry(path, EntryKind.OPAQUE)


def layer(*entries: Entry) -> PackIndex:
    return PackIndex("zstd", f"sha256:layer-{next(_serial)}", "", 0, 0, list(entries), [], [])


def tree(*layers: PackIndex) -> dict[str, Node]:
    """Every path of the merged tree."""
    root = merge_layers(layers)
    found: dict[str, Node] = {}
    pending = [("", root)]
    while pending:
        above, node = pending.pop()
        for name, child in (node.children or {}).items():
            path = f"{above}/{name.decode()}"
            found[path[1:]] = child
            if child.children is not None:
                pending.append((path, child))
    return found


def paths(*layers: PackIndex) -> set[str]:
    return set(tree(*layers))


USR_MERGED = (directory("usr"), directory("usr/lib"), fifo("usr/lib/old"), link("lib", "usr/lib"))


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_hides_lower_layers_only_wherever_it_stands(first: bool) -> None:
    upper = [gone("d/x"), fifo("d/x", mode=0o600), gone("d/y")]
    merged = tree(
        layer(directory("d"), fifo("d/x"), fifo("d/y"), fifo("d/z")),
        layer(*(upper if first else reversed(upper))),
    )
    assert set(merged) == {"d", "d/x", "d/z"}
    assert merged["d/x"].entry.mode == 0o600


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_directory_empties_itself_of_lower_layers_only(first: bool) -> None:
    upper = [opaque("d"), fifo("d/new"), directory("d/sub")]
    below = layer(directory("d"), fifo("d/x"), directory("d/sub"), fifo("d/sub/y"))
    assert paths(below, layer(*(upper if first else reversed(upper)))) == {"d", "d/new", "d/sub"}


def test_an_opaque_root_leaves_the_upper_layer_alone() -> None:
    assert paths(layer(fifo("a"), directory("b")), layer(fifo("c"), opaque(""))) == {"c"}


def test_a_removed_directory_comes_back_without_its_children() -> None:
    merged = tree(layer(directory("d"), fifo("d/x")), layer(fifo("d/new"), gone("d")))
    assert set(merged) == {"d", "d/new"}
    assert merged["d"].entry.mode == 0o755


def test_whiteouts_of_what_is_not_there_hide_nothing_but_have_their_parents() -> None:
    below = layer(fifo("a"))
    assert paths(below, layer(gone("b"), gone(".c"))) == {"a"}
    assert paths(below, layer(gone("no/such"), opaque("nowhere"))) == {"a", "no", "nowhere"}


def test_a_whiteout_below_a_file_of_a_lower_layer_makes_it_a_directory() -> None:
    assert tree(layer(fifo("a")), layer(gone("a/b")))["a"].children == {}
    assert tree(layer(fifo("a")), layer(opaque("a")))["a"].children == {}


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_below_a_file_of_its_own_layer_leaves_the_file(first: bool) -> None:
    upper = [gone("a/b"), fifo("a")]
    merged = tree(layer(directory("a"), fifo("a/b")), layer(*upper[:: 1 if first else -1]))
    assert set(merged) == {"a"}
    assert merged["a"].children is None


def test_a_file_replaces_a_directory_with_all_below_it() -> None:
    assert paths(layer(directory("d"), fifo("d/x"), fifo("d/e/y")), layer(fifo("d"))) == {"d"}


def test_a_directory_replaces_a_file_and_starts_empty() -> None:
    merged = tree(layer(fifo("d")), layer(directory("d"), fifo("d/x")))
    assert set(merged) == {"d", "d/x"}


def test_a_parent_that_is_a_file_becomes_a_directory() -> None:
    merged = tree(layer(fifo("a")), layer(fifo("a/b")))
    assert set(merged) == {"a", "a/b"}
    assert merged["a"].children is not None


def test_a_directory_declared_again_keeps_its_children_and_takes_the_new_attributes() -> None:
    merged = tree(layer(directory("d"), fifo("d/x")), layer(directory("d", mode=0o700)))
    assert set(merged) == {"d", "d/x"}
    assert merged["d"].entry.mode == 0o700


def test_a_directory_that_is_not_declared_again_keeps_its_attributes() -> None:
    merged = tree(layer(directory("d", mode=0o711)), layer(fifo("d/x")))
    assert merged["d"].entry.mode == 0o711


def test_directories_that_nobody_declares_are_roots_0755_dated_0() -> None:
    made = tree(layer(fifo("a/b/c")))["a/b"].entry
    assert (made.mode, made.uid, made.gid, made.mtime) == (0o755, 0, 0, 0)


def test_of_duplicates_the_last_counts() -> None:
    merged = tree(
        layer(directory("x"), fifo("x/a"), fifo("x", mode=0o600), fifo("y"), directory("y"))
    )
    assert set(merged) == {"x", "y"}
    assert merged["x"].entry.mode == 0o600
    assert merged["y"].children == {}


@pytest.mark.parametrize("target", ["usr/lib", "/usr/lib", "../../usr/lib", "./usr//lib/"])
def test_a_parent_that_is_a_link_of_the_same_layer_is_followed_inside_the_image(
    target: str,
) -> None:
    merged = tree(
        layer(directory("usr"), directory("usr/lib", mode=0o700), fifo("usr/lib/old")),
        layer(link("lib", target), fifo("lib/foo"), directory("lib/sub"), fifo("lib/sub/bar")),
    )
    assert set(merged) == {
        "usr", "usr/lib", "lib", "usr/lib/old", "usr/lib/foo", "usr/lib/sub", "usr/lib/sub/bar",
    }  # fmt: skip
    assert merged["usr/lib"].entry.mode == 0o700


@pytest.mark.parametrize("target", ["usr/lib", "/usr/lib", "no/where", "lib"])
def test_a_parent_that_is_a_link_of_a_lower_layer_is_hidden_by_a_new_directory(
    target: str,
) -> None:
    below = [*USR_MERGED[:-1], link("lib", target)]
    merged = tree(layer(*below), layer(fifo("lib/foo"), directory("lib/sub")))
    assert set(merged) == {"usr", "usr/lib", "usr/lib/old", "lib", "lib/foo", "lib/sub"}
    made = merged["lib"].entry
    assert (made.mode, made.uid, made.gid, made.mtime) == (0o755, 0, 0, 0)


def test_a_link_of_the_same_layer_to_one_of_a_lower_layer_ends_there() -> None:
    merged = paths(layer(*USR_MERGED), layer(link("way", "lib/sub"), fifo("way/foo")))
    assert merged == {
        "usr", "usr/lib", "usr/lib/old", "lib", "lib/sub", "lib/sub/foo", "way",
    }  # fmt: skip


def test_a_whiteout_below_a_link_of_a_lower_layer_hides_the_link_not_what_it_leads_to() -> None:
    for upper in (gone("lib/old"), gone("lib/sub/deeper"), opaque("lib")):
        merged = tree(layer(*USR_MERGED), layer(upper))
        assert {"usr", "usr/lib", "usr/lib/old", "lib"} <= set(merged)
        assert merged["lib"].children is not None
        assert "lib/old" not in merged


def test_a_whiteout_below_a_link_of_its_own_layer_removes_where_the_link_leads() -> None:
    below = layer(*USR_MERGED)
    assert "usr/lib/old" not in paths(below, layer(link("l", "usr/lib"), gone("l/old")))
    assert "usr/lib/old" not in paths(below, layer(link("l", "usr/lib"), opaque("l")))


def test_a_hidden_link_is_told_with_layer_path_and_target() -> None:
    merger = Merger()
    merger.apply(layer(*USR_MERGED, link("usr/lib64", "/usr/lib")))
    upper = layer(fifo("lib/foo"), gone("usr/lib64/old"))
    merger.apply(upper)
    assert sorted(merger.warnings) == [
        f"layer {upper.digest} hides the link {path} with a directory, as docker does"
        for path in ("lib -> usr/lib", "usr/lib64 -> /usr/lib")
    ]


def test_a_link_that_its_layer_replaces_or_removes_by_name_is_no_surprise() -> None:
    for upper in (
        layer(fifo("lib/foo"), directory("lib")),
        layer(fifo("lib/foo"), gone("lib")),
        layer(fifo("lib")),
        layer(link("lib", "usr/lib"), fifo("lib/foo")),
    ):
        merger = Merger()
        merger.apply(layer(*USR_MERGED))
        merger.apply(upper)
        assert merger.warnings == []


def test_a_layer_that_hides_thousands_of_links_is_told_in_a_few_lines() -> None:
    merger = Merger()
    merger.apply(layer(*(link(f"l{n}", "x") for n in range(3000))))
    merger.apply(layer(*(fifo(f"l{n}/f") for n in range(3000))))
    assert len(merger.warnings) == 6
    assert "hides 2995 more links" in merger.warnings[-1]


def test_a_directory_declared_at_a_link_replaces_the_link_alone() -> None:
    merged = tree(
        layer(*USR_MERGED), layer(directory("lib"), opaque("lib"), gone("lib/old"), fifo("lib/foo"))
    )
    assert set(merged) == {"usr", "usr/lib", "usr/lib/old", "lib", "lib/foo"}


@pytest.mark.parametrize("first", [True, False])
def test_a_removed_link_is_not_followed_by_its_own_layer(first: bool) -> None:
    upper = [gone("lib"), fifo("lib/foo")]
    merged = tree(layer(*USR_MERGED), layer(*(upper if first else reversed(upper))))
    assert set(merged) == {"usr", "usr/lib", "usr/lib/old", "lib", "lib/foo"}


def test_a_link_to_nowhere_as_parent_gets_its_directory_made() -> None:
    assert paths(layer(link("l", "no/where"), fifo("l/a"))) == {
        "l", "no", "no/where", "no/where/a",
    }  # fmt: skip


@pytest.mark.parametrize("last", [fifo("l/a"), gone("l/a"), opaque("l")])
def test_a_loop_of_links_is_refused_with_layer_and_entry(last: Entry) -> None:
    with pytest.raises(LayerError) as caught:
        merge_layers([layer(link("l", "m"), link("m", "l"), last)])
    assert "sha256:layer-" in caught.value.evidence
    assert f"'{last.path.decode()}'" in caught.value.evidence


def test_the_parents_of_a_link_replaced_in_the_same_layer_are_looked_up_again() -> None:
    merged = paths(
        layer(
            directory("one"), directory("two"), link("way", "one"), fifo("way/a"),
            link("way", "two"), fifo("way/b"), directory("one"), fifo("one/c"), fifo("one"),
            fifo("one/d"),
        )
    )  # fmt: skip
    assert merged == {"one", "one/d", "two", "two/b", "way"}


def test_hard_links_share_an_inode_within_and_across_layers() -> None:
    merged = tree(layer(fifo("a"), hard("b", "a")), layer(hard("c", "b")))
    assert merged["a"] is merged["b"] is merged["c"]


def test_a_hard_link_outlives_the_masked_name_of_its_target() -> None:
    below = layer(fifo("a", mode=0o600), hard("b", "a"))
    for upper in (layer(gone("a")), layer(fifo("a")), layer(directory("a"))):
        assert tree(below, upper)["b"].entry.mode == 0o600


def test_a_hard_link_may_name_what_its_own_layer_removes() -> None:
    below = layer(directory("d"), fifo("d/a", mode=0o600))
    assert tree(below, layer(hard("b", "d/a"), gone("d/a")))["b"].entry.mode == 0o600
    assert tree(below, layer(gone("d"), hard("b", "d/a")))["b"].entry.mode == 0o600
    assert tree(below, layer(opaque("d"), hard("b", "d/a")))["b"].entry.mode == 0o600


def test_hard_links_to_links_and_through_links() -> None:
    merged = tree(
        layer(directory("d"), fifo("d/x"), link("e", "d"), hard("y", "e/x"), hard("f", "e"))
    )
    assert merged["y"] is merged["d/x"]
    assert merged["f"] is merged["e"]


def test_the_target_of_a_hard_link_is_found_through_links_of_any_layer() -> None:
    below = layer(*USR_MERGED)
    merged = tree(below, layer(hard("h", "lib/old"), link("way", "lib"), hard("i", "way/old")))
    assert merged["h"] is merged["i"] is merged["usr/lib/old"]
    assert merged["lib"].entry.link == b"usr/lib"
    merged = tree(below, layer(directory("usr/lib"), fifo("usr/lib/new"), hard("h", "lib/new")))
    assert merged["h"] is merged["usr/lib/new"]
    merged = tree(below, layer(fifo("usr/lib/old", mode=0o600), hard("h", "lib/old")))
    assert merged["h"] is merged["usr/lib/old"]


def test_the_target_of_a_hard_link_is_found_where_its_layer_hides_it() -> None:
    merged = tree(layer(*USR_MERGED), layer(fifo("lib/foo"), hard("lib/bar", "lib/old")))
    assert merged["lib/bar"] is merged["usr/lib/old"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("nowhere", "neither this layer has so far"),
        ("d", "hard link to directory"),
        ("d/x/y", "neither"),
    ],
)
def test_a_hard_link_without_a_file_is_refused_with_layer_entry_and_reason(
    target: str, reason: str
) -> None:
    with pytest.raises(LayerError) as caught:
        merge_layers([layer(directory("d"), fifo("d/x"), hard("bad", target))])
    assert "'bad'" in caught.value.evidence
    assert reason in caught.value.evidence


def test_a_root_that_is_no_directory_is_refused() -> None:
    with pytest.raises(LayerError, match="root of the image is not a directory"):
        merge_layers([layer(fifo(""))])


def test_a_path_of_thirty_thousand_names_costs_memory_by_its_length_not_by_its_square() -> None:
    tracemalloc.start()
    try:
        deep = [fifo(f"{top}/" + "d/" * 30_000 + "end") for top in "abc"]
        root = merge_layers([layer(*deep)])
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert len(number_inodes(root)) == 1 + 3 * 30_001


def test_link_counts_are_those_of_a_file_system() -> None:
    root = merge_layers(
        [layer(directory("d"), directory("d/e"), fifo("d/a"), hard("b", "d/a"), hard("d/e/c", "b"))]
    )
    directories = number_inodes(root)
    assert [node.links for node in directories] == [2, 3, 3]
    assert resolve(root, b"/b").node.links == 3
    numbers = sorted({node.number for _, node in _all(root)})
    assert numbers == [1, 2, 3, 4]


def _all(root: Node):
    pending = [(b"", root)]
    while pending:
        path, node = pending.pop()
        yield path, node
        pending += (node.children or {}).items()


def test_resolving_follows_links_as_after_chroot() -> None:
    root = merge_layers(
        [
            layer(
                directory("usr"), directory("usr/lib64"), link("lib64", "usr/lib64"),
                link("up", "../../.."), link("abs", "/up/lib64"), link("loop", "loop"),
                fifo("file"),
            )
        ]
    )  # fmt: skip

    def lead(path: bytes) -> tuple[bytes, bool]:
        found = resolve(root, path)
        return found.path, found.node is not None

    assert lead(b"/lib64") == (b"/usr/lib64", True)
    assert lead(b"/abs/../lib64") == (b"/usr/lib64", True)
    assert lead(b"/abs/missing/deeper") == (b"/usr/lib64/missing/deeper", False)
    assert lead(b"/loop/x") == (b"/loop/x", False)
    assert lead(b"/file/x") == (b"/file/x", False)
    assert lead(b"/../..") == (b"/", True)
    assert resolve(root, b"/lib64", follow_last=False).path == b"/lib64"
