"""A tar stream as members, in order, with their content: ustar, PAX, GNU and old formats.

Written for layers: the bytes arrive in slabs, headers are read from them in place, and whatever a
header claims is checked before it is believed. What a header says is ``tar_member.py``'s. A tar
that stops between two members without its end marker is taken as complete, as GNU tar and Go do:
several image builders write no marker, some not even the last padding.
"""

from collections.abc import Iterator

from sampan.images.header_log import HeaderLog
from sampan.images.limits import DEFAULT_LIMITS, LayerError, Limits, refuse_excess, refuse_layer
from sampan.images.readahead import SlabSource
from sampan.images.tar_headers import (
    BLOCK,
    HeaderError,
    check_segments,
    checksum_fits,
    old_sparse_segments,
    parse_decimal,
    parse_number,
    parse_pax,
    pax_sparse_segments,
    sparse_numbers,
)
from sampan.images.tar_member import (
    Header,
    Records,
    TarMember,
    build_member,
    join_records,
    member_name,
    read_header,
)
from sampan.model.layer import EntryKind

_ZEROS = bytes(BLOCK)
_NONE: Records = {}
_Segments = list[tuple[int, int]]
# The old formats say in the type flag, PAX in its records, that a file is sparse.
_OLD_SPARSE = b"S"
# In place of a position in the slab: what passes by is content, which is not logged.
_NOTHING = 1 << 62


class TarReader:
    """The members of one tar stream; between two of them ``read`` gives the content."""

    def __init__(
        self,
        slabs: SlabSource,
        *,
        layer: str,
        limits: Limits = DEFAULT_LIMITS,
        log: HeaderLog | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            slabs: the tar.
            layer: what error messages call it.
            limits: on what headers may say.
            log: hears of everything that ``read`` does not give out; entries are counted from 0
                in the order in which members are given.
        """
        self._slabs = slabs
        self._log = log
        self._logged = 0
        self._member = -1
        self._content_at = 0
        self._layer = layer
        self._limits = limits
        self._slab = b""
        self._at = 0
        self._base = 0
        self._payload = 0
        self._padding = 0
        self._headers = 0
        self._name: bytes | None = None

    @property
    def offset(self) -> int:
        """Bytes of the tar taken so far."""
        return self._base + self._at

    def __iter__(self) -> Iterator[TarMember]:
        """Members in the order of the tar, whiteouts told apart, aufs' own names left out.

        Raises:
            LayerError: the tar is damaged, truncated, hostile, or beyond a limit.
        """
        defaults: Records = {}
        records: list[tuple[bytes, bytes]] = []
        long_name: bytes | None = None
        long_link: bytes | None = None
        while True:
            self._name = None
            self._skip(self._payload)
            self._skip_padding(self._padding)
            self._payload = self._padding = 0
            block = self._next_header()
            if block is None:
                if records or long_name is not None or long_link is not None:
                    raise self._refuse("the tar ends where an entry was announced")
                return
            flag = block[156]
            try:
                if flag in b"xXgLK":
                    data = self._special(block)
                    if flag == 0x4C:
                        long_name = data.partition(b"\0")[0]
                    elif flag == 0x4B:
                        long_link = data.partition(b"\0")[0]
                    elif flag == 0x67:
                        defaults |= parse_pax(data)
                    else:
                        records += parse_pax(data)
                    continue
                pax = join_records(defaults, records) if records or defaults else _NONE
                self._name = name = member_name(block, pax, long_name)
                if flag == 0x56:  # GNU's volume label is about the tape
                    member = None
                else:
                    header = read_header(block, name, long_link, pax)
                    self._payload = header.stored
                    self._padding = -header.stored % BLOCK
                    size, segments = header.stored, None
                    if header.kind == EntryKind.FILE and (pax or block[156:157] == _OLD_SPARSE):
                        size, segments = self._sparse(header, records)
                    member = build_member(header, size, segments, self._limits)
            except HeaderError as error:
                raise self._refuse(str(error), error.limit) from error
            if records:
                records = []
            long_name = long_link = None
            if member is not None:
                self._member += 1
                self._content_at = 0
                yield member

    def read(self, size: int, at: int = -1) -> bytes:
        """The next ``size`` stored bytes of the current member.

        Args:
            size: bytes to read.
            at: where they belong in a sparse file; otherwise they follow those read before.

        Raises:
            LayerError: the tar ends before.
        """
        self._payload -= size
        if self._log is None or not size:
            return self._take(size)
        if self._logged < self._at:
            self._log.add_literal(self._slab[self._logged : self._at])
        begin = self._content_at if at < 0 else at
        self._log.add_content(self._member, begin, size)
        self._content_at = begin + size
        self._logged = _NOTHING
        data = self._take(size)
        self._logged = self._at
        return data

    def _next_header(self) -> bytes | None:
        """The next header, or None at the end of the tar."""
        if self._at == len(self._slab) and not self._refill():
            if self.offset == 0:
                raise self._refuse("the tar is empty (0 bytes)")
            return None
        block = self._take(BLOCK)
        if block == _ZEROS:
            self._finish()
            return None
        self._headers += 1
        if self._headers > self._limits.max_entries:
            raise self._refuse("it has too many entries", "max_entries")
        if not checksum_fits(block, block[148:156]):
            what = "this is no tar" if self._headers == 1 else "a header is damaged"
            raise self._refuse(f"{what}: the checksum at offset {self.offset - BLOCK} is wrong")
        return block

    def _special(self, block: bytes) -> bytes:
        size = parse_number(block[124:136])
        if not 0 <= size <= self._limits.max_header_bytes:
            raise HeaderError(f"an extended header of {size} bytes", limit="max_header_bytes")
        data = self._take(size)
        self._skip(-size % BLOCK)
        return data

    def _sparse(
        self, header: Header, records: list[tuple[bytes, bytes]]
    ) -> tuple[int, tuple[tuple[int, int], ...] | None]:
        """The real size of a file and its map, which is None when it is not sparse."""
        pax, block = header.pax, header.block
        found: _Segments | None
        if block[156:157] == _OLD_SPARSE:
            size = parse_number(block[483:495])
            found, more = old_sparse_segments(block, extension=False)
            while more:
                further, more = old_sparse_segments(self._take(BLOCK), extension=True)
                found += further
                self._check_segment_count(len(found))
        elif pax.get(b"GNU.sparse.major") == b"1":
            size = parse_decimal(pax.get(b"GNU.sparse.realsize", b""), "its real size")
            found = self._map_in_content()
        else:
            found = pax_sparse_segments(records)
            if found is None:
                return header.stored, None
            size = parse_decimal(pax.get(b"GNU.sparse.size", b""), "its real size")
        self._check_segment_count(len(found))
        check_segments(found, size, self._payload)
        return size, tuple(found)

    def _map_in_content(self) -> _Segments:
        """The map of GNU.sparse 1.0: a decimal number a line, in whole blocks before the data."""
        text = bytearray()
        lines = 0
        wanted = 1
        while lines < wanted:
            if self._payload < BLOCK:
                raise HeaderError("its sparse map is longer than its content")
            self._payload -= BLOCK
            block = self._take(BLOCK)
            text += block
            lines += block.count(b"\n")
            if wanted == 1 and lines:
                pairs = parse_decimal(bytes(text.partition(b"\n")[0]), "a sparse map's length")
                self._check_segment_count(pairs)
                wanted = 1 + 2 * pairs
            if len(text) > 24 * (lines + 1) + BLOCK:
                raise HeaderError("its sparse map is no list of numbers")
        return sparse_numbers(bytes(text).split(b"\n")[1:wanted])

    def _check_segment_count(self, segments: int) -> None:
        if segments > self._limits.max_sparse_segments:
            raise HeaderError("its sparse map is too long", limit="max_sparse_segments")

    def _finish(self) -> None:
        """Hold everything behind the first empty header to be empty too."""
        while True:
            rest = self._slab[self._at :]
            if rest.count(0) != len(rest):
                raise self._refuse("there are entries after the end marker")
            self._at = len(self._slab)
            if not self._refill():
                return

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end <= len(self._slab):
            data = self._slab[self._at : end]
            self._at = end
            return data
        parts = [memoryview(self._slab)[self._at :]]
        missing = size - len(parts[0])
        self._at = len(self._slab)
        while missing:
            if not self._refill():
                raise self._truncated()
            parts.append(memoryview(self._slab)[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size > len(self._slab) - self._at:
            size -= len(self._slab) - self._at
            self._at = len(self._slab)
            if not self._refill():
                raise self._truncated()
        self._at += size

    def _skip_padding(self, size: int) -> None:
        """As ``_skip``, but the stream may end here: the last entry is whole without its padding.

        umoci 0.4 forgets to close the layers that its ``insert`` makes; Go's reader, and so docker
        and podman, read them.
        """
        while size > len(self._slab) - self._at:
            size -= len(self._slab) - self._at
            self._at = len(self._slab)
            if not self._refill():
                return
        self._at += size

    def _refill(self) -> bool:
        """Go on to the next slab, this one being used up; False at the end of the stream."""
        slab = self._slabs.read_slab()
        if self._log is not None and self._logged != _NOTHING:
            self._log.add_literal(self._slab[self._logged :])
            self._logged = 0 if slab else len(self._slab)
        if not slab:
            return False
        self._base += len(self._slab)
        self._slab = slab
        self._at = 0
        return True

    def _truncated(self) -> LayerError:
        return self._refuse(f"the tar is truncated: it ends at byte {self.offset} inside an entry")

    def _refuse(self, reason: str, limit: str = "") -> LayerError:
        if limit:
            return refuse_excess(self._layer, reason, limit, self._limits, entry=self._name)
        return refuse_layer(self._layer, reason, entry=self._name)
