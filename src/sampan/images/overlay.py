"""Layers become one tree (OCI image spec, layer.md: change types and whiteouts).

The model is what docker, podman and containerd show: each layer extracted into a directory of its
own, and the kernel's overlayfs over these directories. So there are two steps, and their rules:

A layer alone (``_LayerTree``)
- Entries apply in tar order, so of duplicates the last counts; a directory over a directory keeps
  the children and takes the new attributes, any other change of kind replaces the whole subtree.
- A parent that the layer does not declare is made: root's, 0755, dated 0. A whiteout or an opaque
  mark makes its parents too.
- A parent that is a link of this same layer is followed, inside the image.
- A parent that the layer has as a file becomes a directory; only for a whiteout it does not.
- A hard link names the inode its target has at that moment: in this layer, else in those below,
  through links of either, even where this layer hides the target (the name goes, not the inode).
  (podman refuses targets of lower layers; ``umoci unpack`` finds them.)

A layer over those below (``Merger``)
- Whiteouts and opaque directories hide what is below, never their own layer, wherever they stand.
- A directory over a directory shows the children of both, with the upper one's attributes if the
  layer declares it (as containerd copies them for those that it has to make).
- All else hides what is below it, a made parent too: ``lib/foo`` over ``lib -> usr/lib`` is a new
  directory ``lib``, and ``usr/lib`` has no ``foo``. Users are warned of that, since plain
  extraction of all layers into one directory would follow the link.
"""

from collections.abc import Sequence

from sampan.images.limits import LayerError, printable, refuse_layer
from sampan.images.tree import MAX_LINKS, Node, resolve, undeclared_directory
from sampan.model.layer import Entry, EntryKind, PackIndex

_DIRECTORY = int(EntryKind.DIRECTORY)
_SYMLINK = int(EntryKind.SYMLINK)
_HARD_LINK = int(EntryKind.HARD_LINK)
_WHITEOUT = int(EntryKind.WHITEOUT)
_ANCESTORS_TRIED = 8
_WARNINGS_PER_LAYER = 5


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
        warnings: what a user should know of the layers, for each a sentence.
    """

    def __init__(self) -> None:
        self.root = _make_root()
        self.warnings: list[str] = []
        self._applied = 0

    def apply(self, layer: PackIndex) -> None:
        """Lay ``layer`` over the tree.

        Raises:
            LayerError: see ``merge_layers``; the tree is as it was.
        """
        upper = _LayerTree(layer, self._applied, self.root)
        hidden: list[tuple[Node, Node]] = []
        # A pair stands for a directory that both have; what only one has moves as a whole.
        pairs = [(upper.root, self.root)]
        while pairs:
            above, below = pairs.pop()
            if above.layer >= 0:
                below.entry = above.entry
                below.layer = above.layer
            if above in upper.opaque:
                below.children = {}
            children = below.children
            assert children is not None
            assert above.children is not None
            for name in upper.removed.get(above, ()):
                children.pop(name, None)
            for name, node in above.children.items():
                if node.children is not None:
                    covered = children.get(name)
                    if covered is not None:
                        if covered.children is not None:
                            pairs.append((node, covered))
                            continue
                        if node.layer < 0 and covered.entry.kind == _SYMLINK:
                            hidden.append((node, covered))
                    node.parent = below
                children[name] = node
        self._applied += 1
        self._warn_of_hidden(layer, hidden)

    def _warn_of_hidden(self, layer: PackIndex, hidden: Sequence[tuple[Node, Node]]) -> None:
        for directory, link in hidden[:_WARNINGS_PER_LAYER]:
            self.warnings.append(
                f"layer {layer.digest or layer.diff_id} hides the link "
                f"{printable(_path_of(directory))} -> {printable(link.entry.link)} "
                "with a directory, as docker does"
            )
        more = len(hidden) - _WARNINGS_PER_LAYER
        if more > 0:
            self.warnings.append(
                f"layer {layer.digest or layer.diff_id} hides {more} more links in this way"
            )


class _LayerTree:
    """One layer as extraction into an empty directory would leave it, and what it removes.

    Attributes:
        root: its tree; hard links to lower layers are those layers' nodes.
        removed: names that whiteouts hide, by the directory of this tree that they stand in.
        opaque: directories of this tree that show nothing of the layers below.
    """

    def __init__(self, layer: PackIndex, number: int, below: Node) -> None:
        self.root = _make_root()
        self.removed: dict[Node, list[bytes]] = {}
        self.opaque: set[Node] = set()
        self._below = below
        self._layer = layer.digest or layer.diff_id
        # Directories by the path the layer uses for them; emptied when a directory or link goes.
        self._known: dict[bytes, Node] = {b"": self.root}
        self._fill(layer, number)

    def _fill(self, layer: PackIndex, number: int) -> None:
        known = self._known
        for entry in layer.entries:
            kind = entry.kind
            if kind >= _WHITEOUT:
                self._remove(entry)
                continue
            path = entry.path
            above, _, name = path.rpartition(b"/")
            parent = known.get(above)
            if parent is None:
                parent = self._walk(above, entry, over_files=True)
                assert parent is not None
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
                node = self._hard_link_target(entry)
            else:
                node = Node(entry, number, None)
            if existing is not None and (
                existing.children is not None or existing.entry.kind == _SYMLINK
            ):
                self._forget()
            children[name] = node

    def _forget(self) -> None:
        self._known.clear()
        self._known[b""] = self.root

    def _declare_root(self, entry: Entry, number: int) -> None:
        if entry.kind != _DIRECTORY:
            raise self._refusal(entry, "the root of the image is not a directory")
        self.root.entry = entry
        self.root.layer = number

    def _remove(self, entry: Entry) -> None:
        if entry.kind == _WHITEOUT:
            above, _, name = entry.path.rpartition(b"/")
            parent = self._walk(above, entry, over_files=False)
            if parent is not None:
                self.removed.setdefault(parent, []).append(name)
            return
        emptied = self._walk(entry.path, entry, over_files=False)
        if emptied is not None:
            self.opaque.add(emptied)

    def _refusal(self, entry: Entry, reason: str) -> LayerError:
        return refuse_layer(self._layer, reason, entry=entry.path)

    def _hard_link_target(self, entry: Entry) -> Node:
        above, _, name = entry.link.rpartition(b"/")
        parent = self._known.get(above)
        node = None
        if parent is not None and parent.children is not None:
            node = parent.children.get(name)
        if node is None:
            node = self._find_through_links(entry.link)
        if node is None:
            raise self._refusal(
                entry,
                f"hard link to '{printable(entry.link)}', which neither this layer has so far "
                "nor a layer below",
            )
        if node.children is not None:
            raise self._refusal(entry, f"hard link to directory '{printable(entry.link)}'")
        return node

    def _find_through_links(self, path: bytes) -> Node | None:
        """What ``path`` leads to in this layer, else below; a lower link may lead back here."""
        here = resolve(self.root, path, follow_last=False)
        if here.node is not None:
            return here.node
        below = resolve(self._below, here.path, follow_last=False)
        return resolve(self.root, below.path, follow_last=False).node or below.node

    def _walk(self, path: bytes, entry: Entry, *, over_files: bool) -> Node | None:
        """Go to directory ``path`` from its nearest known ancestor, making what is missing.

        Args:
            path: as the layer writes it.
            entry: whose path it is, for the error.
            over_files: replace what is neither directory nor link, instead of answering None.
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
            if child is None or child.children is None:
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
                if child is not None and not over_files:
                    return None
                child = undeclared_directory(name, here)
                children[name] = child
            here = child
        known[path] = here
        return here


def _make_root() -> Node:
    root = undeclared_directory(b"", None)
    root.parent = root
    return root


def _path_of(directory: Node) -> bytes:
    """The path of a directory in its tree, without a leading slash."""
    names: list[bytes] = []
    while directory.parent is not None and directory.parent is not directory:
        names.append(directory.entry.path.rpartition(b"/")[2])
        directory = directory.parent
    return b"/".join(reversed(names))
