"""What a shared library says of itself: ELF class, machine and DT_SONAME (gABI, chapters 4 and 5).

Only fixed-size parts are read, at offsets checked against bounds, so that a hostile or damaged
file costs a few kilobytes; a FIFO or device is never waited for.
"""

import os
import stat
import struct
from typing import NamedTuple

MACHINES: dict[int, str] = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64"}
MAXIMUM_HEADERS = 256
MAXIMUM_DYNAMIC_BYTES = 64 * 1024
MAXIMUM_SONAME_BYTES = 256
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_STRTAB, DT_SONAME = 0, 5, 14


class ElfIdentity(NamedTuple):
    """A shared library: 64 or 32 bits, machine as ``uname -m`` says it, SONAME or empty."""

    bits: int
    machine: str
    soname: str


def read_elf(path: str) -> ElfIdentity | None:
    """The identity of the ELF shared library at ``path``; None when it is no readable one."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # Opening a FIFO wakes its writer, opening a device may do anything.
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return _read(descriptor)
    except (OSError, OverflowError, struct.error):
        return None
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> ElfIdentity | None:
    ident = os.pread(descriptor, 64, 0)
    if ident[:4] != b"\x7fELF" or len(ident) < 52 or ident[4] not in (1, 2) or ident[5] != 1:
        return None
    wide = ident[4] == 2
    kind, machine = struct.unpack_from("<HH", ident, 16)
    if kind != 3 or machine not in MACHINES:
        return None
    if wide:
        (headers,) = struct.unpack_from("<Q", ident, 32)
        size, number = struct.unpack_from("<HH", ident, 54)
        layout, dynamic_layout = "<I4xQQ8xQ", "<qQ"
    else:
        (headers,) = struct.unpack_from("<I", ident, 28)
        size, number = struct.unpack_from("<HH", ident, 42)
        layout, dynamic_layout = "<IIIxxxxI", "<iI"
    if size < struct.calcsize(layout) or number > MAXIMUM_HEADERS:
        return None
    table = os.pread(descriptor, size * number, headers)
    loads: list[tuple[int, int, int]] = []
    dynamic = b""
    for place in range(0, len(table) - size + 1, size):
        segment, offset, address, length = struct.unpack_from(layout, table, place)
        if segment == PT_LOAD:
            loads.append((address, offset, length))
        elif segment == PT_DYNAMIC:
            dynamic = os.pread(descriptor, min(length, MAXIMUM_DYNAMIC_BYTES), offset)
    soname = _read_soname(descriptor, loads, dynamic, dynamic_layout)
    return ElfIdentity(64 if wide else 32, MACHINES[machine], soname)


def _read_soname(
    descriptor: int, loads: list[tuple[int, int, int]], dynamic: bytes, layout: str
) -> str:
    step = struct.calcsize(layout)
    names = soname = None
    for tag, value in struct.iter_unpack(layout, dynamic[: len(dynamic) // step * step]):
        if tag == DT_NULL:
            break
        if tag == DT_STRTAB:
            names = value
        elif tag == DT_SONAME:
            soname = value
    if names is None or soname is None:
        return ""
    address = names + soname
    for start, offset, length in loads:
        if start <= address < start + length:
            text = os.pread(descriptor, MAXIMUM_SONAME_BYTES, address - start + offset)
            name, end, _ = text.partition(b"\0")
            # A name with a slash or control characters is no name that a loader would look for.
            usable = end and b"/" not in name and name.isascii() and name.decode().isprintable()
            return name.decode() if usable else ""
    return ""
