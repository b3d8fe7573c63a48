"""The mark of a driver, and how an inventory is kept between two starts."""

import json
import typing
from pathlib import Path

import pytest

import sampan.model.inventory
from sampan.driver.cache import FORMAT, _decode
from sampan.driver.fingerprint import fingerprint_text
from sampan.model.inventory import (
    DeviceNode,
    DriverFile,
    DriverLink,
    Extra,
    Inventory,
    MigDevice,
)
from support.driver_host import FakeHost, make_h200_host


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return make_h200_host(tmp_path).take()


def with_mig(inventory: Inventory, uuid: str = "MIG-1") -> Inventory:
    node = DeviceNode("/dev/nvidia-caps/nvidia-cap3", "/x/nvidia-cap3", 241, 3, 0o444, 0, 0)
    mig = MigDevice(0, uuid, 1, 0, "1g.18gb", 1 << 34, (node, node), ("/proc/a", "/proc/b"))
    link = DriverLink("/dev/dri/by-path/pci-0000:00:06.0-card", "../card0")
    gpu = inventory.gpus[0]._replace(mig_enabled=True, mig_devices=(mig,), links=(link,))
    file = DriverFile("cufile.json", "/etc/cufile.json", (), "/etc", "/etc")
    return inventory._replace(gpus=(gpu,), extras=(Extra("gds", (node,), (file,), ("/proc/c",)),))


def test_what_json_made_of_an_inventory_becomes_the_same_inventory(inventory: Inventory) -> None:
    full = with_mig(inventory)
    assert _decode(json.loads(json.dumps(full))) == full


def test_the_format_names_every_record_that_an_inventory_may_hold() -> None:
    named = {record[0] for record in FORMAT}
    records = {
        name
        for name, found in vars(sampan.model.inventory).items()
        if hasattr(found, "_fields") and name != "GpuUsage"
    }
    assert named == records


def test_the_mark_is_the_same_for_the_same_driver(inventory: Inventory, tmp_path: Path) -> None:
    mark = fingerprint_text(inventory)
    assert len(mark) == 32
    assert int(mark, 16) >= 0
    assert fingerprint_text(inventory._replace(warnings=("the weather changed",))) == mark


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i._replace(driver_version="999.0"),
        lambda i: i._replace(module_version="999.0"),
        lambda i: i._replace(gpus=()),
        lambda i: i._replace(libraries=i.libraries[1:]),
        lambda i: i._replace(control_nodes=i.control_nodes[1:]),
        with_mig,
    ],
    ids=["version", "module", "gpus", "libraries", "nodes", "mig"],
)
def test_the_mark_changes_with_what_a_container_would_get(
    inventory: Inventory, change: typing.Callable[[Inventory], Inventory]
) -> None:
    assert fingerprint_text(change(inventory)) != fingerprint_text(inventory)


def test_the_mark_knows_mig_devices_of_one_profile_apart(inventory: Inventory) -> None:
    marks = {fingerprint_text(with_mig(inventory, uuid)) for uuid in ("MIG-1", "MIG-2")}
    assert len(marks) == 2


def test_a_host_without_a_driver_has_a_mark_too(tmp_path: Path) -> None:
    assert fingerprint_text(FakeHost(tmp_path).take())
