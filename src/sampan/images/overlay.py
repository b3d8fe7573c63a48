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

from sampan.images.layer_columns import EntryTable, entry_table
from sampan.images.limits import LayerError, printable, refuse_layer
from sampan.images.tree import MAX_LINKS, Directory, Node, resolve, undeclared_directory
from sampan.model.layer import EntryKind, PackIndex

_DIRECTORY = int(EntryKind.DIRECTORY)
_SYMLINK = int(EntryKind.SYMLINK)
_HARD_LINK = int(EntryKind.HARD_LINK)
_WHITEOUT = int(EntryKind.WHITEOUT)
_ANCESTORS_TRIED = 8
_WARNINGS_PER_LAYER = 5


def merge_layers(layers: Sequence[PackIndex]) -> Directory:
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
        self.root = _make_root(EntryTable())
        self.warnings: list[str] = []
        self._applied = 0

    def apply(self, layer: PackIndex) -> None:
        """Lay ``layer`` over the tree.

        Raises:
            LayerError: see ``merge_layers``; the tree is as it was.
        """
        upper = _LayerTree(layer, self._applied, self.root)
        hidden: list[tuple[Directory, Node]] = []
        # A pair stands for a directory that both have; what only one has moves as a whole.
        pairs: list[tuple[Directory, Directory]] = [(upper.root, self.root)]
        while pairs:
            above, below = pairs.pop()
            if above.layer >= 0:
                below.table, below.place, below.layer = above.table, above.place, above.layer
            if above in upper.opaque:
                below.children = {}
            children = below.children
            for name in upper.removed.get(above, ()):
                children.pop(name, None)
            for name, node in above.children.items():
                if isinstance(node, Directory):
                    covered = children.get(name)
                    if covered is not None:
                        if isinstance(covered, Directory):
                            pairs.append((node, covered))
                            continue
                        if node.layer < 0 and covered.kind == _SYMLINK:
                            hidden.append((node, covered))
                    node.parent = below
                children[name] = node
        self._applied += 1
        self._warn_of_hidden(layer, hidden)

    def _warn_of_hidden(self, layer: PackIndex, hidden: Sequence[tuple[Directory, Node]]) -> None:
        for directory, link in hidden[:_WARNINGS_PER_LAYER]:
            self.warnings.append(
                f"layer {layer.digest or layer.diff_id} hides the link "
                f"{printable(_path_of(directory))} -> {printable(link.link)} "
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
        self._made = EntryTable()
        self.root = _make_root(self._made)
        self.removed: dict[Directory, list[bytes]] = {}
        self.opaque: set[Directory] = set()
        self._below = below
        self._layer = layer.digest or layer.diff_id
        # Directories by the path the layer uses for them; emptied when a directory or link goes.
        self._known: dict[bytes, Directory] = {b"": self.root}
        self._fill(layer, number)

    def _fill(self, layer: PackIndex, number: int) -> None:
        known = self._known
        table = entry_table(layer.entries)
        for place, (path, kind) in enumerate(zip(table.paths(), table.kinds, strict=True)):
            if kind >= _WHITEOUT:
                self._remove(path, kind)
                continue
            above, _, name = path.rpartition(b"/")
            parent = known.get(above)
            if parent is None:
                parent = self._walk(above, path, over_files=True)
                assert parent is not None
            if not name:
                if kind != _DIRECTORY:
                    raise self._refusal(path, "the root of the image is not a directory")
                self.root.table, self.root.place, self.root.layer = table, place, number
                continue
            children = parent.children
            existing = children.get(name)
            if kind == _DIRECTORY:
                if isinstance(existing, Directory):
                    existing.table, existing.place, existing.layer = table, place, number
                else:
                    if existing is not None and existing.kind == _SYMLINK:
                        self._forget()
                    existing = children[name] = Directory(table, place, number, parent)
                known[path] = existing
                continue
            if kind == _HARD_LINK:
                node = self._hard_link_target(path, table.link(place))
            else:
                node = Node(table, place, number)
            if existing is not None and (
                existing.children is not None or existing.kind == _SYMLINK
            ):
                self._forget()
            children[name] = node

    def _forget(self) -> None:
        self._known.clear()
        self._known[b""] = self.root

    def _remove(self, path: bytes, kind: int) -> None:
        if kind == _WHITEOUT:
            above, _, name = path.rpartition(b"/")
            parent = self._walk(above, path, over_files=False)
            if parent is not None:
                self.removed.setdefault(parent, []).append(name)
            return
        emptied = self._walk(path, path, over_files=False)
        if emptied is not None:
            self.opaque.add(emptied)

    def _refusal(self, path: bytes, reason: str) -> LayerError:
        return refuse_layer(self._layer, reason, entry=path)

    def _hard_link_target(self, path: bytes, target: bytes) -> Node:
        above, _, name = target.rpartition(b"/")
        parent = self._known.get(above)
        node = None
        if parent is not None:
            node = parent.children.get(name)
        if node is None:
            node = self._find_through_links(target)
        if node is None:
            raise self._refusal(
                path,
                f"hard link to '{printable(target)}', which neither this layer has so far "
                "nor a layer below",
            )
        if node.children is not None:
            raise self._refusal(path, f"hard link to directory '{printable(target)}'")
        return node

    def _find_through_links(self, path: bytes) -> Node | None:
        """What ``path`` leads to in this layer, else below; a lower link may lead back here."""
        here = resolve(self.root, path, follow_last=False)
        if here.node is not None:
            return here.node
        below = resolve(self._below, here.path, follow_last=False)
        return resolve(self.root, below.path, follow_last=False).node or below.node

    def _walk(self, path: bytes, entry: bytes, *, over_files: bool) -> Directory | None:
        """Go to directory ``path`` from its nearest known ancestor, making what is missing.

        Args:
            path: as the layer writes it.
            entry: path of the entry that wants it, for the error.
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
            child = children.get(name)
            if not isinstance(child, Directory):
                if child is not None and child.kind == _SYMLINK:
                    followed += 1
                    if followed > MAX_LINKS:
                        raise self._refusal(
                            entry, f"more than {MAX_LINKS} symbolic links on the way to it"
                        )
                    link = child.link
                    if link.startswith(b"/"):
                        here = self.root
                    pending.extend(link.split(b"/")[::-1])
                    continue
                if child is not None and not over_files:
                    return None
                child = undeclared_directory(self._made, name, here)
                children[name] = child
            here = child
        known[path] = here
        return here


def _make_root(made: EntryTable) -> Directory:
    root = undeclared_directory(made, b"", None)
    root.parent = root
    return root


def _path_of(directory: Directory) -> bytes:
    """The path of a directory in its tree, without a leading slash."""
    names: list[bytes] = []
    while directory.parent is not None and directory.parent is not directory:
        names.append(directory.table.path(directory.place).rpartition(b"/")[2])
        directory = directory.parent
    return b"/".join(reversed(names))
