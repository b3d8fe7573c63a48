"""Jetson's CSV lists: what a line means, what is refused, what is missing."""

import os
from pathlib import Path

import pytest

from sampan.driver.roots import Root
from sampan.driver.tegra import (
    LIST_DIRECTORY,
    MAXIMUM_LINES,
    CsvEntry,
    CsvLineError,
    TegraFiles,
    find_tegra_files,
    parse_csv_line,
)
from support.driver_host import FakeHost

NVIDIA = "/usr/lib/aarch64-linux-gnu/nvidia"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = FakeHost(tmp_path)
    host.add_library(f"{NVIDIA}/libcuda.so.1.1", "libcuda.so.1", "aarch64")
    host.add_link(f"{NVIDIA}/libcuda.so.1", "libcuda.so.1.1")
    return host


def add_list(host: FakeHost, name: str, text: str) -> None:
    host.add_file(f"{LIST_DIRECTORY}/{name}", text.encode())


def find(host: FakeHost) -> TegraFiles:
    return find_tegra_files(Root(str(host.root)), "aarch64")


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("dev, /dev/nvmap", CsvEntry("dev", "/dev/nvmap")),
        ("  lib ,/usr/lib/libx.so  ", CsvEntry("lib", "/usr/lib/libx.so")),
        ("sym, /usr/lib/libx.so.1", CsvEntry("sym", "/usr/lib/libx.so.1")),
        ("dir, /usr/src/tensorrt/", CsvEntry("dir", "/usr/src/tensorrt")),
        ("dir, /dev/dri/by-path", CsvEntry("dev", "/dev/dri/by-path/*")),
        ("lib, /opt/with, comma", CsvEntry("lib", "/opt/with, comma")),
        ("# a comment", None),
        ("   ", None),
    ],
)
def test_a_line_is_a_type_and_a_path(line: str, entry: CsvEntry | None) -> None:
    assert parse_csv_line(line) == entry


@pytest.mark.parametrize(
    "line",
    [
        "lib",
        "exe, /usr/bin/x",
        "lib, relative/path",
        "lib, /usr/../etc/shadow",
        "lib, /usr/./lib",
        "dir, /",
        "dir, /proc",
        "lib, /sys/kernel/x",
        "lib, /usr/lib/\x07bell",
        "lib, /" + "a" * 5000,
        "\x00\x01\x02, \xff\xfe",
    ],
)
def test_a_line_of_another_form_is_refused(line: str) -> None:
    with pytest.raises(CsvLineError):
        parse_csv_line(line)


def test_libraries_files_directories_and_links_keep_their_paths(host: FakeHost) -> None:
    host.add_file("/etc/vulkan/icd.d/nvidia_icd.json", b"{}")
    host.add_file("/usr/src/sample/readme")
    add_list(
        host,
        "drivers.csv",
        f"lib, {NVIDIA}/libcuda.so.1.1\nsym, {NVIDIA}/libcuda.so.1\n"
        "lib, /etc/vulkan/icd.d/nvidia_icd.json\ndir, /usr/src/sample\n",
    )
    found = find(host)
    (cuda,) = found.libraries
    assert (cuda.soname, cuda.directory) == ("libcuda.so.1", NVIDIA)
    assert {"compute", "graphics", "utility", "video"} <= set(cuda.capabilities)
    assert [f"{file.directory}/{file.name}" for file in found.files] == [
        "/etc/vulkan/icd.d/nvidia_icd.json",
        "/usr/src/sample",
    ]
    assert found.links == ((f"{NVIDIA}/libcuda.so.1", "libcuda.so.1.1"),)
    assert found.warnings == ()


def test_patterns_are_expanded_below_the_driver_root(host: FakeHost) -> None:
    for name in ("a.bin", "b.bin", "c.txt"):
        host.add_file(f"/lib/firmware/tegra23x/{name}")
    add_list(host, "drivers.csv", "lib, /lib/firmware/tegra*/*.bin\n")
    assert [file.name for file in find(host).files] == ["a.bin", "b.bin"]


def test_missing_entries_are_named_in_one_warning_a_list(host: FakeHost) -> None:
    lines = [f"lib, /usr/lib/libmissing{number}.so\n" for number in range(8)]
    add_list(host, "drivers.csv", "".join(lines))
    (warning,) = find(host).warnings
    assert "drivers.csv: not on this host: /usr/lib/libmissing0.so" in warning
    assert "and 3 more" in warning


def test_lists_beyond_the_base_ones_are_kept_apart(host: FakeHost) -> None:
    host.add_library("/usr/lib/aarch64-linux-gnu/libnvinfer.so.8", "libnvinfer.so.8", "aarch64")
    add_list(host, "l4t.csv", f"lib, {NVIDIA}/libcuda.so.1.1\ndev, /dev/nvmap\n")
    add_list(host, "tensorrt.csv", "lib, /usr/lib/aarch64-linux-gnu/libnvinfer.so.8\ndev, /dev/x\n")
    found = find(host)
    assert [library.name for library in found.libraries] == ["libcuda.so.1.1"]
    assert found.device_paths == ("/dev/nvmap",)
    assert [file.name for file in found.jetpack_files] == ["libnvinfer.so.8"]
    assert found.jetpack_device_paths == ("/dev/x",)


def test_refused_lines_do_not_cost_the_others(host: FakeHost) -> None:
    add_list(host, "drivers.csv", f"lib, /a/../b\nnonsense\nlib, {NVIDIA}/libcuda.so.1.1\n")
    found = find(host)
    assert len(found.libraries) == 1
    (warning,) = found.warnings
    assert "refused lines: line 1: " in warning
    assert "line 2: " in warning


def test_a_binary_or_a_huge_list_ends(host: FakeHost) -> None:
    host.add_file(f"{LIST_DIRECTORY}/devices.csv", bytes(range(256)) * 16)
    add_list(host, "drivers.csv", "\n" * (MAXIMUM_LINES + 1) + "lib, /x\n")
    host.add_file(f"{LIST_DIRECTORY}/l4t.csv", b"x" * (2 << 20))
    os.mkfifo(host.root / LIST_DIRECTORY.lstrip("/") / "other.csv")
    found = find(host)
    assert found.libraries == ()
    assert len(found.warnings) == 4


def test_a_path_through_a_link_out_of_the_driver_root_stays_inside(host: FakeHost) -> None:
    host.add_link("/opt/out", "../../../../../etc")
    host.add_file("/etc/inside")
    add_list(host, "drivers.csv", "lib, /opt/out/inside\n")
    (file,) = find(host).files
    assert host.inner(file.host_path) == "/etc/inside"
