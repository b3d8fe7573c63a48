"""Libraries are known by their ELF headers; damaged or hostile files are no libraries."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.driver.elf import ElfIdentity, read_elf
from support.driver_host import make_elf


@pytest.mark.parametrize(("machine", "bits"), [("x86_64", 64), ("aarch64", 64), ("i386", 32)])
def test_class_machine_and_soname_are_read(tmp_path: Path, machine: str, bits: int) -> None:
    file = tmp_path / "lib"
    file.write_bytes(make_elf("libcuda.so.1", machine, bits))
    assert read_elf(str(file)) == ElfIdentity(bits, machine, "libcuda.so.1")


def test_a_real_library_of_this_machine_is_read() -> None:
    maps = Path("/proc/self/maps").read_text().split()
    libc = next(word for word in maps if word.startswith("/") and "libc.so.6" in word)
    found = read_elf(libc)
    assert found is not None
    assert found.soname == "libc.so.6"


def test_no_soname_is_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "lib"
    file.write_bytes(make_elf(""))
    assert read_elf(str(file)) == ElfIdentity(64, "x86_64", "")


@pytest.mark.parametrize("soname", ["../../etc/passwd", "a\nb", "a" * 300])
def test_a_soname_that_is_no_name_is_not_believed(tmp_path: Path, soname: str) -> None:
    file = tmp_path / "lib"
    file.write_bytes(make_elf(soname))
    found = read_elf(str(file))
    assert found is not None
    assert found.soname == ""


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20, b"\0" * 4096])
def test_other_files_are_no_libraries(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "lib"
    file.write_bytes(content)
    assert read_elf(str(file)) is None


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "libcuda.so.1")
    assert read_elf(str(tmp_path / "libcuda.so.1")) is None


def test_a_missing_file_and_a_directory_are_no_libraries(tmp_path: Path) -> None:
    assert read_elf(str(tmp_path / "none")) is None
    assert read_elf(str(tmp_path)) is None


def test_absurd_offsets_are_survived(tmp_path: Path) -> None:
    content = bytearray(make_elf("libcuda.so.1"))
    struct.pack_into("<Q", content, 32, 0xFFFFFFFFFFFFFFF0)
    file = tmp_path / "lib"
    file.write_bytes(content)
    assert read_elf(str(file)) in (None, ElfIdentity(64, "x86_64", ""))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(make_elf("libcuda.so.1"))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(content[:cut])
    read_elf(str(file))
