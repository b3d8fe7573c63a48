"""Entries and contents of a layer as columns: some ninety bytes a file instead of a kilobyte.

Both tables are sequences of the records of ``model.layer``, made when they are asked for; who walks
over hundreds of thousands of them reads the columns. Which bytes of a file each column is, is
``pack_file.py``'s.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, repeat
from typing import overload

from sampan.model.layer import Content, Entry

DIGEST_BYTES = 16
_PATHS_AT_ONCE = 1024
_SPLIT_AT_ONCE = 1 << 20

Xattrs = tuple[tuple[bytes, bytes], ...]


class EntryTable(Sequence[Entry]):
    """Entries of a layer, in the order of its tar.

    Attributes:
        joined_paths: all paths with a NUL between each two (no path holds one).
        kinds, modes, uids, gids, mtimes, contents: the columns of these fields.
        links: places of the entries that have a target, ascending, and these targets.
        devices: numbers of the entries that are device nodes, by their place.
        xattr_sets: different sets of extended attributes, the empty one first.
        xattr_numbers: the set of each entry.
    """

    __slots__ = (
        "_path_starts", "_set_numbers", "contents", "devices", "gids", "joined_paths", "kinds",
        "link_places", "link_targets", "modes", "mtimes", "uids", "xattr_numbers", "xattr_sets",
    )  # fmt: skip

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.joined_paths: bytes | bytearray = bytearray()
        self._path_starts = array("Q", [0])
        self.kinds: bytes | bytearray = bytearray()
        self.modes = array("H")
        self.uids = array("I")
        self.gids = array("I")
        self.mtimes = array("q")
        self.contents = array("i")
        self.link_places = array("I")
        self.link_targets: list[bytes] = []
        self.devices: dict[int, tuple[int, int]] = {}
        self.xattr_sets: list[Xattrs] = [()]
        self.xattr_numbers = array("I")
        self._set_numbers: dict[Xattrs, int] = {(): 0}
        for entry in entries:
            self.append(*entry)

    def append(
        self,
        path: bytes,
        kind: int,
        mode: int,
        uid: int,
        gid: int,
        mtime: int,
        link: bytes,
        device: tuple[int, int],
        xattrs: Xattrs,
        content: int,
    ) -> None:
        """Add the entry of these fields, see ``Entry``."""
        place = len(self.modes)
        paths = self.joined_paths
        if place:
            paths += b"\0"
        paths += path
        self.joined_paths = paths
        self._path_starts.append(len(paths) + 1)
        self.kinds += kind.to_bytes(1, "little")
        self.modes.append(mode)
        self.uids.append(uid)
        self.gids.append(gid)
        self.mtimes.append(mtime)
        self.contents.append(content)
        if link:
            self.link_places.append(place)
            self.link_targets.append(link)
        if device != (0, 0):
            self.devices[place] = device
        number = self._set_numbers.get(xattrs)
        if number is None:
            number = self._set_numbers[xattrs] = len(self.xattr_sets)
            self.xattr_sets.append(xattrs)
        self.xattr_numbers.append(number)

    def set_paths(self, joined: bytes, entries: int) -> None:
        """Take over the paths of so many entries.

        Raises:
            ValueError: there are more, or fewer.
        """
        self.joined_paths = joined
        starts = self._path_starts = array("Q", [0])
        begin = 0
        while entries and begin <= len(joined):
            cut = joined.find(b"\0", begin + _SPLIT_AT_ONCE)
            end = len(joined) if cut < 0 else cut
            sizes = map((1).__add__, map(len, joined[begin:end].split(b"\0")))
            starts.extend(islice(accumulate(sizes, initial=begin), 1, None))
            begin = end + 1
        if len(starts) != entries + 1:
            raise ValueError(f"{len(starts) - 1} paths for {entries} entries")

    def link(self, place: int) -> bytes:
        """The target of the entry at ``place``; empty if it has none."""
        at = bisect_left(self.link_places, place)
        if at < len(self.link_places) and self.link_places[at] == place:
            return self.link_targets[at]
        return b""

    def xattrs(self, place: int) -> Xattrs:
        """Extended attributes of the entry at ``place``."""
        return self.xattr_sets[self.xattr_numbers[place]]

    def path(self, place: int) -> bytes:
        """The path of the entry at ``place``."""
        starts = self._path_starts
        return bytes(self.joined_paths[starts[place] : starts[place + 1] - 1])

    def paths(self) -> Iterator[bytes]:
        """All paths, faster than one by one."""
        return chain.from_iterable(self._split_paths())

    def _split_paths(self) -> Iterator[list[bytes]]:
        starts = self._path_starts
        for first in range(0, len(self), _PATHS_AT_ONCE):
            behind = min(first + _PATHS_AT_ONCE, len(self))
            yield bytes(self.joined_paths[starts[first] : starts[behind] - 1]).split(b"\0")

    def __len__(self) -> int:
        return len(self.modes)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        return Entry(
            self.path(place),
            self.kinds[place],
            self.modes[place],
            self.uids[place],
            self.gids[place],
            self.mtimes[place],
            self.link(place),
            self.devices.get(place, (0, 0)),
            self.xattrs(place),
            self.contents[place],
        )

    def __iter__(self) -> Iterator[Entry]:
        places = range(len(self))
        return map(
            Entry,
            self.paths(),
            self.kinds,
            self.modes,
            self.uids,
            self.gids,
            self.mtimes,
            map(self.link, places) if self.link_places else repeat(b""),
            map(self.devices.get, places, repeat((0, 0))) if self.devices else repeat((0, 0)),
            map(self.xattr_sets.__getitem__, self.xattr_numbers),
            self.contents,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class ContentTable(Sequence[Content]):
    """Contents of a layer.

    Attributes:
        sizes, starts, fragments, fragment_offsets: the columns of these fields.
        block_numbers: how many blocks each content has.
        words: size words of all blocks, in the order of the contents.
        digests: side by side.
    """

    __slots__ = (
        "_word_starts", "block_numbers", "digests", "fragment_offsets", "fragments", "sizes",
        "starts", "words",
    )  # fmt: skip

    def __init__(self, contents: Iterable[Content] = ()) -> None:
        self.sizes = array("Q")
        self.starts = array("Q")
        self.block_numbers = array("I")
        self._word_starts = array("Q")
        self.words = array("I")
        self.fragments = array("I")
        self.fragment_offsets = array("I")
        self.digests: bytes | bytearray = bytearray()
        for content in contents:
            self.append(content)

    def append(self, content: Content) -> None:
        """Add a content; its digest has DIGEST_BYTES."""
        size, start, blocks, fragment, fragment_offset, digest = content
        self.sizes.append(size)
        self.starts.append(start)
        self.block_numbers.append(len(blocks))
        self._word_starts.append(len(self.words))
        self.words.extend(blocks)
        self.fragments.append(fragment)
        self.fragment_offsets.append(fragment_offset)
        self.digests += digest

    def settle(self, number: int, start: int, words: Sequence[int], digest: bytes) -> None:
        """Say what was not known of a content when it was added.

        In the order of the contents, and none with blocks added in between.
        """
        self.starts[number] = start
        self.block_numbers[number] = len(words)
        self._word_starts[number] = len(self.words)
        self.words.extend(words)
        assert isinstance(self.digests, bytearray)
        self.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES] = digest

    def set_blocks(self, block_numbers: "array[int]", words: "array[int]") -> None:
        """Take over the blocks of all contents."""
        self.block_numbers = block_numbers
        self.words = words
        self._word_starts = array("Q", accumulate(block_numbers, initial=0))

    def blocks(self, number: int) -> Sequence[int]:
        """Size words of a content."""
        many = self.block_numbers[number]
        if not many:
            return ()
        first = self._word_starts[number]
        return self.words[first : first + many]

    def digest(self, number: int) -> bytes:
        """Digest of a content."""
        return bytes(self.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES])

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, number: int) -> Content: ...
    @overload
    def __getitem__(self, number: slice) -> list[Content]: ...
    def __getitem__(self, number: int | slice) -> Content | list[Content]:
        if isinstance(number, slice):
            return [self[at] for at in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        return Content(
            self.sizes[number],
            self.starts[number],
            tuple(self.blocks(number)),
            self.fragments[number],
            self.fragment_offsets[number],
            self.digest(number),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def entry_table(entries: Sequence[Entry]) -> EntryTable:
    """``entries`` as columns."""
    return entries if isinstance(entries, EntryTable) else EntryTable(entries)


def content_table(contents: Sequence[Content]) -> ContentTable:
    """``contents`` as columns."""
    return contents if isinstance(contents, ContentTable) else ContentTable(contents)
