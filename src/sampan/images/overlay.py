"""Layers become one tree (OCI image spec, layer.md: change types and whiteouts).

Rules, and where they come from:

- A layer's whiteouts and opaque directories act first, on the layers below only, wherever they
  stand in the tar; then its entries apply in tar order, so of duplicates the last counts.
- Links in the parents of a path are followed inside the image, as ``umoci unpack`` and plain
  extraction do: ``lib/foo`` over ``lib -> usr/lib`` is ``usr/lib/foo``. (podman's overlay driver
  would hide the link behind a new directory; what such an image holds is then a subset of ours.)
- A directory declared at a link's own path replaces the link; a directory over a directory keeps
  the children and takes the new attributes; any other change of kind replaces the whole subtree.
- A parent that no layer declares is root's, 0755, dated 0; a parent that is no directory becomes
  one, as overlayfs would show it.
- A hard link names the inode its target has at that moment; a target that this same layer removes
  is still found, since the removal is of the name only.
"""

from collections.abc import Iterable, Sequence

from sampan.images.limits import LayerError, printable, refuse_layer
from sampan.images.tree import MAX_LINKS, Node, undeclared_directory
from sampan.model.layer import Entry, EntryKind, PackIndex

_DIRECTORY = int(EntryKind.DIRECTORY)
_SYMLINK = int(EntryKind.SYMLINK)
_HARD_LINK = int(EntryKind.HARD_LINK)
_WHITEOUT = int(EntryKind.WHITEOUT)
_ANCESTORS_TRIED = 8


def merge_layers(layers: Sequence[PackIndex]) -> Node:
    """The tree that ``layers``, lowest first, make together.

    Raises:
        LayerError: a hard link without target or to a directory, a loop of links in a path.
    """
    merger = Merger()
    for layer in layers:
        merger.apply(layer)
    return merger.root


class Merger:
    """A tree that layers are laid over, one after the other.

    Attributes:
        root: the tree so far.
    """

    def __init__(self) -> None:
        self.root = undeclared_directory(b"", None)
        self.root.parent = self.root
        self._applied = 0
        self._layer = ""
        # Directories by the path the layer uses for them; emptied when a directory or link goes.
        self._known: dict[bytes, Node] = {b"": self.root}

    def apply(self, layer: PackIndex) -> None:
        """Lay ``layer`` over the tree.

        Raises:
            LayerError: see ``merge_layers``.
        """
        self._layer = layer.digest or layer.diff_id
        self._forget()
        removals = [entry for entry in layer.entries if entry.kind >= _WHITEOUT]
        removed: dict[bytes, Node] = {}
        if removals:
            removed = self._remove(removals, layer.entries)
            self._forget()
        number = self._applied
        known = self._known
        for entry in layer.entries:
            kind = entry.kind
            if kind >= _WHITEOUT:
                continue
            path = entry.path
            above, _, name = path.rpartition(b"/")
            parent = known.get(above)
            if parent is None:
                parent = self._make_directory(above, entry)
            if not name:
                self._declare_root(entry, number)
                continue
            children = parent.children
            assert children is not None
            existing = children.get(name)
            if kind == _DIRECTORY:
                if existing is not None and existing.children is not None:
                    existing.entry = entry
                    existing.layer = number
                else:
                    if existing is not None and existing.entry.kind == _SYMLINK:
                        self._forget()
                    existing = children[name] = Node(entry, number, parent)
                known[path] = existing
                continue
            if kind == _HARD_LINK:
                node = self._hard_link_target(entry, removed)
            else:
                node = Node(entry, number, None)
            if existing is not None and (
                existing.children is not None or existing.entry.kind == _SYMLINK
            ):
                self._forget()
            children[name] = node
        self._applied += 1

    def _forget(self) -> None:
        self._known.clear()
        self._known[b""] = self.root

    def _declare_root(self, entry: Entry, number: int) -> None:
        if entry.kind != _DIRECTORY:
            raise self._refusal(entry, "the root of the image is not a directory")
        self.root.entry = entry
        self.root.layer = number

    def _remove(self, removals: Iterable[Entry], entries: Sequence[Entry]) -> dict[bytes, Node]:
        """Apply whiteouts and opaque marks; return what went, by the path the layer calls it."""
        declared = {entry.path for entry in entries if entry.kind == _DIRECTORY}
        removed: dict[bytes, Node] = {}
        for entry in removals:
            if entry.kind == _WHITEOUT:
                above, _, name = entry.path.rpartition(b"/")
                parent = self._find_directory(above, entry, declared)
                if parent is not None and parent.children is not None:
                    node = parent.children.pop(name, None)
                    if node is not None:
                        removed[entry.path] = node
                        if node.children is not None or node.entry.kind == _SYMLINK:
                            self._forget()
                continue
            emptied = self._find_directory(entry.path, entry, declared)
            if emptied is not None and emptied.children:
                for name, node in emptied.children.items():
                    removed[entry.path + b"/" + name if entry.path else name] = node
                emptied.children = {}
                self._forget()
        return removed

    def _refusal(self, entry: Entry, reason: str) -> LayerError:
        return refuse_layer(self._layer, reason, entry=entry.path)

    def _hard_link_target(self, entry: Entry, removed: dict[bytes, Node]) -> Node:
        above, _, name = entry.link.rpartition(b"/")
        parent = self._find_directory(above, entry, frozenset())
        node = None
        if parent is not None and parent.children is not None:
            node = parent.children.get(name)
        if node is None and removed:
            node = _find_removed(entry.link, removed)
        if node is None:
            raise self._refusal(
                entry,
                f"hard link to '{printable(entry.link)}', which neither this layer has so far "
                "nor a layer below",
            )
        if node.children is not None:
            raise self._refusal(entry, f"hard link to directory '{printable(entry.link)}'")
        return node

    def _make_directory(self, path: bytes, entry: Entry) -> Node:
        """The directory that ``path`` leads to; what is missing is created."""
        directory = self._walk(path, entry, make=True, declared=frozenset())
        assert directory is not None
        return directory

    def _find_directory(
        self, path: bytes, entry: Entry, declared: "set[bytes] | frozenset[bytes]"
    ) -> Node | None:
        directory = self._known.get(path)
        if directory is None:
            directory = self._walk(path, entry, make=False, declared=declared)
        return directory

    def _walk(
        self, path: bytes, entry: Entry, *, make: bool, declared: "set[bytes] | frozenset[bytes]"
    ) -> Node | None:
        """Go to directory ``path`` from its nearest known ancestor, following links.

        Args:
            path: as the layer writes it.
            entry: whose path it is, for the error.
            make: create what is missing, instead of answering None.
            declared: directories that the layer itself has: a link of a lower layer at such a
                path does not lead anywhere any more.
        """
        known = self._known
        start = path
        pending: list[bytes] = []
        while start not in known:
            if len(pending) == _ANCESTORS_TRIED:
                # Cutting off one name at a time takes quadratic time on a very deep path.
                start, pending = b"", path.split(b"/")[::-1]
                break
            start, _, name = start.rpartition(b"/")
            pending.append(name)
        here = known[start]
        passed = [start] if start else []
        followed = 0
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                assert here.parent is not None
                here = here.parent
                continue
            children = here.children
            assert children is not None
            child = children.get(name)
            if not followed:
                passed.append(name)
            if child is None or child.children is None:
                if child is not None and not followed and b"/".join(passed) in declared:
                    return None
                if child is not None and child.entry.kind == _SYMLINK:
                    followed += 1
                    if followed > MAX_LINKS:
                        raise self._refusal(
                            entry, f"more than {MAX_LINKS} symbolic links on the way to it"
                        )
                    if child.entry.link.startswith(b"/"):
                        here = self.root
                    pending.extend(child.entry.link.split(b"/")[::-1])
                    continue
                if not make:
                    return None
                child = undeclared_directory(name, here)
                children[name] = child
            here = child
        known[path] = here
        return here


def _find_removed(path: bytes, removed: dict[bytes, Node]) -> Node | None:
    """The node that ``path`` named before this layer's whiteouts, taken literally."""
    below: list[bytes] = []
    start = path
    while start and start not in removed:
        start, _, name = start.rpartition(b"/")
        below.append(name)
    node = removed.get(start)
    while node is not None and below:
        node = None if node.children is None else node.children.get(below.pop())
    return node
