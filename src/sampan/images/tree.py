"""The merged file tree of an image in memory: nodes, link resolution as after chroot, numbering.

Belongs here: what holds for any tree. How layers become one tree is ``overlay.py``. Nothing here
recurses: a hostile image may nest directories tens of thousands deep.
"""

from typing import NamedTuple

from sampan.images.layer_columns import EntryTable
from sampan.model.layer import Entry, EntryKind

MAX_LINKS = 40
"""Symbolic links followed in one path, as Linux does (path_resolution(7))."""

_DIRECTORY = int(EntryKind.DIRECTORY)
_SYMLINK = int(EntryKind.SYMLINK)


class Node:
    """One inode. Hard links are several names in ``children`` for the same node.

    Attributes:
        table: of the layer that declared it.
        place: where in this table; the path there is the one under which it was first declared, or
            the mere name where no layer did.
        layer: number of the layer that declared it, 0 = lowest; -1 when no layer did.
        children: names to nodes; None when this is no directory.
        number: inode number, 0 until ``number_inodes``.
        links: link count, 0 until ``number_inodes``.
    """

    __slots__ = ("layer", "links", "number", "place", "table")

    children: "dict[bytes, Node] | None" = None

    def __init__(self, table: EntryTable, place: int, layer: int) -> None:
        self.table = table
        self.place = place
        self.layer = layer
        self.number = 0
        self.links = 0

    @property
    def entry(self) -> Entry:
        """What the layer said of it, put together at each call."""
        return self.table[self.place]

    @property
    def kind(self) -> int:
        """An EntryKind value."""
        return self.table.kinds[self.place]

    @property
    def link(self) -> bytes:
        """Target of a symbolic link."""
        return self.table.link(self.place)


class Directory(Node):
    """A directory.

    Attributes:
        children: names to nodes.
        parent: directory that holds it; the root's is itself.
    """

    __slots__ = ("children", "parent")

    def __init__(
        self, table: EntryTable, place: int, layer: int, parent: "Directory | None"
    ) -> None:
        super().__init__(table, place, layer)
        self.children: dict[bytes, Node] = {}
        self.parent = parent


class Resolved(NamedTuple):
    """Where a path leads: real absolute path, and the node there or None."""

    path: bytes
    node: Node | None


def undeclared_directory(table: EntryTable, name: bytes, parent: Directory | None) -> Directory:
    """A directory that no layer declares: root's, 0755, dated 0.

    It keeps its name, not its path: the paths of a chain of thousands would fill the memory.

    Args:
        table: where it is noted.
        name: its name.
        parent: the directory that holds it.
    """
    table.append(name, _DIRECTORY, 0o755, 0, 0, 0, b"", (0, 0), (), -1)
    return Directory(table, len(table) - 1, -1, parent)


def resolve(root: Node, path: bytes, *, follow_last: bool = True) -> Resolved:
    """Follow every link of ``path`` as a process chrooted into the tree would.

    A component that does not exist, or a loop, ends the search: ``node`` is None and ``path`` is
    the path it would have (for a loop: the path as asked).
    """
    names: list[bytes] = []
    nodes: list[Node] = [root]
    pending = path.split(b"/")[::-1]
    followed = 0
    while pending:
        name = pending.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            if names:
                names.pop()
                nodes.pop()
            continue
        children = nodes[-1].children
        child = None if children is None else children.get(name)
        if child is None:
            rest = [part for part in reversed(pending) if part not in (b"", b".", b"..")]
            return Resolved(b"/" + b"/".join([*names, name, *rest]), None)
        if child.kind == _SYMLINK and (pending or follow_last):
            followed += 1
            if followed > MAX_LINKS:
                return Resolved(b"/" + path.strip(b"/"), None)
            link = child.link
            if link.startswith(b"/"):
                names.clear()
                del nodes[1:]
            pending.extend(link.split(b"/")[::-1])
            continue
        names.append(name)
        nodes.append(child)
    return Resolved(b"/" + b"/".join(names), nodes[-1])


def number_inodes(root: Directory) -> list[Directory]:
    """Sort every directory by name, number all inodes from 1 and count their links.

    Returns:
        the directories, each after all directories below it (the root is last).
    """
    directories = [root]
    for directory in directories:  # grows while it is walked: no recursion
        directory.children = children = dict(sorted(directory.children.items()))
        directories.extend(node for node in children.values() if isinstance(node, Directory))
    directories.reverse()
    number = 0
    for directory in directories:
        links = 2
        for node in directory.children.values():
            if node.children is not None:
                links += 1
                continue
            if not node.number:
                number += 1
                node.number = number
            node.links += 1
        number += 1
        directory.number = number
        directory.links = links
    return directories
