"""On every kind of host the driver is found whole, and nothing of it is left without a reason."""

import json
from pathlib import Path

import pytest

from support.driver_host import TESTDATA, make_h200_host
from support.driver_trees import CASES, Case, describe_inventory, is_updating


@pytest.mark.parametrize("name", CASES)
def test_the_drivers_files_on_this_kind_of_host_are_those_of_the_golden_inventory(
    name: str, tmp_path: Path
) -> None:
    text = describe_inventory(Case(tmp_path, name).take())
    golden = TESTDATA / name / "inventory.json"
    if is_updating():
        golden.write_text(text)
    assert text == golden.read_text()
    assert json.loads(text)["unknown"] == []


def test_every_case_says_what_it_is_and_where_it_was_learnt() -> None:
    for name in CASES:
        words = (TESTDATA / name / "README.md").read_text().split()
        assert "Learnt from" in " ".join(words)


def test_no_file_of_the_h200_hosts_driver_is_unexplained(tmp_path: Path) -> None:
    host = make_h200_host(tmp_path)
    prefix = "/usr/local/nvidia"
    for path in (
        "glibc/libc.so.6",
        "glibc/ld-linux-x86-64.so.2",
        "etc/passwd",
        "etc/nsswitch.conf",
    ):
        host.add_file(f"{prefix}/{path}")
    for path in ("modules/nvidia.ko", "version", "kernel.release"):
        host.add_file(f"{prefix}/{path}")
    host.add_file("/etc/os-release")
    said = json.loads(describe_inventory(host.take()))
    assert said["unknown"] == []
    own_system = "belongs to the driver tree as a system of its own, for its programs on the host"
    assert {found["path"].removeprefix(prefix): found["reason"] for found in said["left_out"]} == {
        "/etc/nsswitch.conf": own_system,
        "/etc/passwd": own_system,
        "/glibc/ld-linux-x86-64.so.2": own_system,
        "/glibc/libc.so.6": own_system,
        "/kernel.release": own_system,
        "/lib": "a link to a directory",
        "/modules/nvidia.ko": "for the host's kernel, which the container shares",
        "/version": own_system,
    }
