"""An image that nobody has seen gets the driver's files where the host has them."""

from pathlib import Path

import pytest

from sampan.injection.neutral import neutral_facts
from sampan.injection.plan import plan_import
from sampan.model.request import Request
from support.driver_host import FakeHost

V = "580.159.04"


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("/usr/lib/x86_64-linux-gnu", "/usr/lib/i386-linux-gnu"),
        ("/usr/lib/x86_64-linux-gnu", "/usr/lib/i386-linux-gnu/nvidia/current"),
        ("/usr/lib64", "/usr/lib"),
        ("/usr/lib", "/usr/lib32"),
        ("/usr/local/nvidia/lib64", ""),
    ],
)
def test_libraries_lie_where_the_host_has_them(tmp_path: Path, wide: str, narrow: str) -> None:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_library(f"{wide}/libcuda.so.{V}", "libcuda.so.1")
    if narrow:
        host.add_library(f"{narrow}/libcuda.so.{V}", "libcuda.so.1", "i386", 32)
    inventory = host.take(library_search_paths=[narrow, wide] if narrow else [wide])
    request = Request(True, (), None, ("compute", "compat32"), "test")
    made = plan_import(inventory, request, neutral_facts(inventory), ())
    paths = [mount.container_path for mount in made.mounts]
    expected = [f"{wide}/libcuda.so.{V}", *([f"{narrow}/libcuda.so.{V}"] if narrow else [])]
    assert sorted(paths) == sorted(expected)


def test_another_library_directory_may_be_chosen(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    host.load_module(V)
    host.add_library(f"/usr/lib64/libcuda.so.{V}", "libcuda.so.1")
    inventory = host.take()
    facts = neutral_facts(inventory, library_directory="/usr/lib/x86_64-linux-gnu")
    made = plan_import(inventory, Request(True, (), None, ("compute",), "test"), facts, ())
    assert made.mounts[0].container_path == f"/usr/lib/x86_64-linux-gnu/libcuda.so.{V}"
