"""The fields of tar headers: numbers, checksums, PAX records, sparse maps.

Pure functions on bytes. Rules: POSIX.1-2017 pax (ustar and extended headers), the GNU tar manual
("Basic Tar Format", "Storing Sparse Files"). What a header means for a member is ``tar.py``'s.
"""

import struct
import zlib

BLOCK = 512

FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
"""name mode uid gid size mtime chksum typeflag linkname magic uname gname major minor prefix."""

_GNU_SPARSE_IN_HEADER = range(386, 386 + 4 * 24, 24)
_GNU_SPARSE_IN_EXTENSION = range(0, 21 * 24, 24)


class HeaderError(ValueError):
    """A header says something that cannot be; the message completes "a layer is refused: ...".

    Attributes:
        limit: name of the limit in ``Limits`` that is exceeded, or empty.
    """

    def __init__(self, reason: str, *, limit: str = "") -> None:
        super().__init__(reason)
        self.limit = limit


def parse_number(field: bytes) -> int:
    """A numeric field: octal text, or base-256 when its first bit is set (GNU, star).

    Raises:
        HeaderError: it is neither.
    """
    if field[0] & 0x80:
        if field[0] & 0x40:
            return int.from_bytes(field, "big", signed=True)
        return int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
    text = field.strip(b" \0")
    if not text:
        return 0
    try:
        return int(text, 8)
    except ValueError:
        # Some writers leave old bytes behind the terminator.
        text = text.partition(b"\0")[0].rstrip()
    try:
        return int(text, 8)
    except ValueError:
        raise HeaderError(f"the number {field!r} in a header is not octal") from None


def checksum_fits(header: bytes, field: bytes) -> bool:
    """Whether the header's bytes add up to its checksum field, taken signed or unsigned."""
    try:
        stated = parse_number(field)
    except HeaderError:
        return False
    # The lower half of adler32 is (1 + sum of the bytes) % 65521, ten times faster than sum();
    # the field itself counts as eight spaces.
    if zlib.adler32(header) & 0xFFFF == (1 + stated - 256 + sum(field)) % 65521:
        return True
    plain = header[:148] + b" " * 8 + header[156:]
    return stated in (sum(plain), sum(struct.unpack("512b", plain)))


def parse_pax(data: bytes) -> list[tuple[bytes, bytes]]:
    r"""The records ``LENGTH KEY=VALUE\n`` of an extended header, in their order.

    Raises:
        HeaderError: a length does not fit, or a record has no key.
    """
    records = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise HeaderError("a PAX record has no length")
        end = position + int(digits)
        equals = data.find(b"=", space, end)
        if end > len(data) or equals <= space + 1 or data[end - 1] != 0x0A:
            raise HeaderError("a PAX record does not fit its length")
        records.append((data[space + 1 : equals], data[equals + 1 : end - 1]))
        position = end
    return records


def parse_decimal(text: bytes, what: str) -> int:
    """A decimal number of a PAX record.

    Raises:
        HeaderError: it is something else.
    """
    if not text.isdigit() or len(text) > 20:
        raise HeaderError(f"{what} is no decimal number: {text[:40]!r}")
    return int(text)


def parse_time(text: bytes) -> int:
    """Nanoseconds of a PAX time (decimal seconds, perhaps negative, perhaps with a fraction).

    Raises:
        HeaderError: it is no such number.
    """
    sign = -1 if text[:1] == b"-" else 1
    seconds, _, fraction = text.lstrip(b"-").partition(b".")
    if not (seconds + fraction).isdigit() or len(seconds) > 20:
        raise HeaderError(f"a time is no decimal number: {text[:40]!r}")
    return sign * (int(seconds or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0")))


def old_sparse_segments(block: bytes, *, extension: bool) -> tuple[list[tuple[int, int]], bool]:
    """The segments in a GNU sparse header or extension block, and whether a block follows.

    Raises:
        HeaderError: a number is damaged.
    """
    places = _GNU_SPARSE_IN_EXTENSION if extension else _GNU_SPARSE_IN_HEADER
    segments = []
    for at in places:
        if block[at : at + 24].count(0) == 24:
            break
        segments.append((parse_number(block[at : at + 12]), parse_number(block[at + 12 : at + 24])))
    return segments, block[504 if extension else 482] != 0


def sparse_numbers(lines: list[bytes]) -> list[tuple[int, int]]:
    """Pair up the offsets and lengths of a sparse map.

    Raises:
        HeaderError: one is no number, or an offset has no length.
    """
    numbers = [parse_decimal(line, "a sparse map") for line in lines]
    if len(numbers) % 2:
        raise HeaderError("a sparse map has an offset without a length")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def pax_sparse_segments(records: list[tuple[bytes, bytes]]) -> list[tuple[int, int]] | None:
    """The map that GNU.sparse 0.0 (repeated keys) or 0.1 (one list) records carry, or None.

    Raises:
        HeaderError: the numbers do not pair up.
    """
    lines: list[bytes] = []
    found = False
    for key, value in records:
        if key == b"GNU.sparse.numblocks":
            found = True
        elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            found = True
            if (len(lines) % 2 == 0) != (key == b"GNU.sparse.offset"):
                raise HeaderError("the offsets and lengths of a sparse map do not alternate")
            lines.append(value)
        elif key == b"GNU.sparse.map":
            found = True
            lines = value.split(b",") if value else []
    return sparse_numbers(lines) if found else None


def check_segments(segments: list[tuple[int, int]], size: int, stored: int) -> None:
    """Refuse a sparse map that does not describe ``stored`` bytes of a file of ``size`` bytes.

    Raises:
        HeaderError: segments overlap, run backwards, leave the file, or do not add up.
    """
    position = total = 0
    for start, length in segments:
        if start < position or length < 0 or start + length > size:
            raise HeaderError("a sparse map overlaps itself or leaves the file")
        position = start + length
        total += length
    if total != stored:
        raise HeaderError(f"a sparse map speaks of {total} bytes where {stored} are stored")
