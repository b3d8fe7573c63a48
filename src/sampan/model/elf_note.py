"""One section of one ELF file: the note that CUDA's forward-compatibility libraries carry.

The file comes from an image, so every offset and size in it is bounded before it is used; whatever
does not add up means "no such note". Format: ELF-64 object file format, both byte orders.
"""

import struct
from collections.abc import Callable

_MAX_SECTIONS = 4096
_MAX_NAMES = 1 << 20
_MAX_NOTE = 1 << 16
_CLASS_64 = 2
_ORDERS = {1: "<", 2: ">"}
_HEADER_SIZE = 64
_SECTION_SIZE = 64


def read_note(read: Callable[[int, int], bytes], section: bytes, owner: bytes) -> bytes | None:
    """The description of the first note in ``section`` by ``owner``.

    Args:
        read: gives at most so many bytes from an offset, fewer at the file's end.
        section: name of the section.
        owner: name field of the note.

    Returns:
        None when this is no 64-bit ELF file, has no such note, or contradicts itself.
    """
    head = read(0, _HEADER_SIZE)
    if len(head) < _HEADER_SIZE or head[:4] != b"\x7fELF" or head[4] != _CLASS_64:
        return None
    order = _ORDERS.get(head[5])
    if order is None:
        return None
    (table_at,) = struct.unpack_from(order + "Q", head, 40)
    entry_size, count, names_number = struct.unpack_from(order + "HHH", head, 58)
    if entry_size != _SECTION_SIZE or not names_number < count <= _MAX_SECTIONS:
        return None
    table = read(table_at, count * _SECTION_SIZE)
    if len(table) < count * _SECTION_SIZE:
        return None
    # sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size
    layout = struct.Struct(order + "IIQQQQ")
    _, _, _, _, names_at, names_size = layout.unpack_from(table, names_number * _SECTION_SIZE)
    names = read(names_at, min(names_size, _MAX_NAMES))
    for number in range(count):
        name_at, _, _, _, offset, size = layout.unpack_from(table, number * _SECTION_SIZE)
        if names.startswith(section + b"\0", name_at):
            return _parse_notes(read(offset, min(size, _MAX_NOTE)), order, owner)
    return None


def _parse_notes(data: bytes, order: str, owner: bytes) -> bytes | None:
    at = 0
    while at + 12 <= len(data):
        name_size, size, _ = struct.unpack_from(order + "III", data, at)
        name_at = at + 12
        content_at = name_at + (name_size + 3 & ~3)
        if content_at + size > len(data):
            return None
        if data[name_at : name_at + name_size].rstrip(b"\0") == owner:
            return data[content_at : content_at + size].rstrip(b"\0")
        at = content_at + (size + 3 & ~3)
    return None
