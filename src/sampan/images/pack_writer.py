"""Files' bytes into a pack's data: cut into blocks, compressed by threads, each content once.

Order is that of the calls, whatever thread is done first, so the data depend on nothing but the
input. A file of at least one block has blocks of its own, the last one perhaps short; smaller
files share fragments, as mksquashfs does by default. A block of zeros is a hole.

The digest of a content of less than a block is BLAKE2b of its bytes. Of a larger one it is BLAKE2b
of its size and of its leaves' digests, a mebibyte each: so leaves are hashed by the threads that
compress them, and a hole counts like zeros without any being made. A leaf's digest is taken of
its size words and of what is stored for it, which is less to hash than the leaf and says as much:
our compressor stores equal bytes equally, unequal ones never.
"""

import os
import struct
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from sampan.images.blocks import Buffer, Compressor, block_compressor
from sampan.images.layer_columns import DIGEST_BYTES, ContentTable
from sampan.model.layer import BLOCK_SIZE, NO_FRAGMENT, UNCOMPRESSED, Content, Fragment

LEAF_BLOCKS = 8
LEAF_BYTES = LEAF_BLOCKS * BLOCK_SIZE
"""What one thread compresses and hashes at a time."""

_NOT_YET = bytes(DIGEST_BYTES)
_ZERO_BLOCK = bytes(BLOCK_SIZE)
_ZERO_LEAF = bytes(LEAF_BYTES)
_ZERO_RUN = 65536
_WORDS = struct.Struct(f"<{LEAF_BLOCKS}I")
_TREE = b"sampan leaves"
_IN_FLIGHT_PER_WORKER = 3
# glibc gives every freed mebibyte back to the kernel and gets it again, page by page, until it
# has seen a larger one being freed; then it keeps up to twice that size.
_KEEP_FREED = 31 << 20


class _Leaf(NamedTuple):
    """A compressed leaf: what to store, one size word a block, the digest of its bytes."""

    stored: bytes
    words: tuple[int, ...]
    digest: bytes


class LargeContent:
    """A content of at least one block on its way through the threads."""

    __slots__ = ("number", "size", "start", "tree", "words")

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        self.start = -1
        self.words: list[int] = []
        self.tree = blake2b(size.to_bytes(8, "little"), digest_size=DIGEST_BYTES, person=_TREE)


class Packed(NamedTuple):
    """All contents of a layer, and where each number given out by the writer has gone.

    Attributes:
        contents: in order of their first use.
        fragments: shared blocks.
        numbers: position in ``contents`` of each number; empty when both are the same.
        size: bytes of the data.
    """

    contents: ContentTable
    fragments: list[Fragment]
    numbers: Sequence[int]
    size: int


_Step = Callable[[], None]


class PackWriter:
    """Writes the data of one pack.

    ``add_small`` and ``begin``, ``add``, ``skip``, ``end`` give numbers of contents, final only
    once ``finish`` has been called. At any time a bounded number of leaves is in memory.
    """

    def __init__(self, data: BinaryIO, compression: str, workers: int | None = None) -> None:
        """Write to ``data``, from its start.

        Args:
            data: seekable, empty.
            compression: ``zstd`` or ``gzip``.
            workers: threads; by default as many as this process has cores.

        Raises:
            UsageError: no such compression.
        """
        self._compress = block_compressor(compression)
        bytes(_KEEP_FREED)
        self._data = data
        self._position = 0
        workers = workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sampan-pack")
        self._room = workers * _IN_FLIGHT_PER_WORKER + 2
        self._steps: deque[_Step] = deque()
        self._contents = ContentTable()
        self._known: dict[bytes, int] = {}
        self._same: dict[int, int] = {}
        self._fragments: list[Fragment] = []
        self._tails = bytearray()
        self._tail_blocks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add_small(self, content: bytes) -> int:
        """Store a content of less than BLOCK_SIZE bytes."""
        digest = blake2b(content, digest_size=DIGEST_BYTES).digest()
        number = self._known.get(digest)
        if number is not None:
            return number
        number = self._known[digest] = len(self._contents)
        size = len(content)
        if not size:
            self._contents.append(Content(0, 0, (), NO_FRAGMENT, 0, digest))
            return number
        offset = len(self._tails)
        if offset + size > BLOCK_SIZE:
            self._flush_tails()
            offset = 0
        self._tails += content
        self._contents.append(Content(size, 0, (), self._tail_blocks, offset, digest))
        return number

    def begin(self, size: int) -> LargeContent:
        """Begin a content of at least BLOCK_SIZE bytes."""
        content = LargeContent(len(self._contents), size)
        self._contents.append(Content(size, 0, (), NO_FRAGMENT, 0, _NOT_YET))
        return content

    def add(self, content: LargeContent, leaf: bytes) -> None:
        """Add the next leaf: LEAF_BYTES, or what remains."""
        if leaf == _ZERO_LEAF:
            self.skip(content, 1)
            return
        future = self._pool.submit(_pack_leaf, leaf, self._compress)
        self._then(lambda: self._store_leaf(content, future))

    def skip(self, content: LargeContent, leaves: int) -> None:
        """Add a hole of whole leaves."""
        self._then(lambda: _add_hole(content, leaves))

    def end(self, content: LargeContent) -> int:
        """Say that all leaves were added."""
        self._then(lambda: self._store_content(content))
        return content.number

    def finish(self) -> Packed:
        """Write what is outstanding and settle the contents."""
        self._flush_tails()
        while self._steps:
            self._steps.popleft()()
        self._data.truncate(self._position)
        # Nothing is added any more, and this is the largest thing in memory.
        self._known.clear()
        contents = self._contents
        numbers = array("I")
        if self._same:
            contents = ContentTable()
            for number, content in enumerate(self._contents):
                numbers.append(len(contents))
                if number not in self._same:
                    contents.append(content)
            for number, first in self._same.items():
                numbers[number] = numbers[first]
        return Packed(contents, self._fragments, numbers, self._position)

    def _then(self, step: _Step) -> None:
        self._steps.append(step)
        while len(self._steps) > self._room:
            self._steps.popleft()()

    def _flush_tails(self) -> None:
        if not self._tails:
            return
        future = self._pool.submit(_pack_block, bytes(self._tails), self._compress)
        self._then(lambda: self._store_fragment(future))
        self._tails.clear()
        self._tail_blocks += 1

    def _write(self, stored: Buffer) -> int:
        start = self._position
        self._data.write(stored)
        self._position += len(stored)
        return start

    def _store_fragment(self, future: "Future[tuple[Buffer, int]]") -> None:
        stored, word = future.result()
        self._fragments.append(Fragment(self._write(stored), word))

    def _store_leaf(self, content: LargeContent, future: "Future[_Leaf]") -> None:
        leaf = future.result()
        if leaf.stored:
            start = self._write(leaf.stored)
            if content.start < 0:
                content.start = start
        content.words.extend(leaf.words)
        content.tree.update(leaf.digest)

    def _store_content(self, content: LargeContent) -> None:
        digest = content.tree.digest()
        first = self._known.setdefault(digest, content.number)
        if first == content.number:
            start = max(content.start, 0)
            self._contents.settle(first, start, content.words, digest)
            return
        self._same[content.number] = first
        if content.start >= 0:
            # Steps run in order, so nothing lies behind this content yet: take it back.
            self._position = content.start
            self._data.seek(content.start)


def _add_hole(content: LargeContent, leaves: int) -> None:
    content.words.extend((0,) * (leaves * LEAF_BLOCKS))
    while leaves > 0:
        content.tree.update(_ZERO_LEAF_DIGEST * min(leaves, _ZERO_RUN))
        leaves -= _ZERO_RUN


def _pack_block(block: Buffer, compress: Compressor) -> tuple[Buffer, int]:
    packed = compress(block)
    if len(packed) < len(block):
        return packed, len(packed)
    return block, len(block) | UNCOMPRESSED


def _pack_leaf(leaf: bytes, compress: Compressor) -> _Leaf:
    view = memoryview(leaf)
    parts = []
    words = []
    for at in range(0, len(leaf), BLOCK_SIZE):
        size = min(BLOCK_SIZE, len(leaf) - at)
        if leaf.startswith(_ZERO_BLOCK if size == BLOCK_SIZE else _ZERO_BLOCK[:size], at):
            words.append(0)
            continue
        packed, word = _pack_block(view[at : at + size], compress)
        parts.append(packed)
        words.append(word)
    stored = b"".join(parts)
    return _Leaf(stored, tuple(words), _leaf_digest(stored, words))


def _leaf_digest(stored: bytes, words: list[int]) -> bytes:
    head = _WORDS.pack(*words, *(0,) * (LEAF_BLOCKS - len(words)))
    digest = blake2b(head, digest_size=DIGEST_BYTES)
    digest.update(stored)
    return digest.digest()


_ZERO_LEAF_DIGEST = _leaf_digest(b"", [0] * LEAF_BLOCKS)
