"""The inventory's cache is believed when it is the caller's own and whole, and never a trap."""

import json
import os
from pathlib import Path

import pytest

from sampan.driver import cache
from sampan.driver.cache import current_inventory, locate_cache
from sampan.model.inventory import Inventory
from support.described_host import make_described_host
from support.driver_host import FakeHost
from support.hostile import ODD_KINDS, plant, take_snapshot


@pytest.fixture
def machine(tmp_path: Path) -> FakeHost:
    return make_described_host(tmp_path / "machine", "two-gpus")


def take(machine: FakeHost, home: Path) -> Inventory:
    roots = {"proc_root": str(machine.proc), "sys_root": str(machine.sys), "machine": "x86_64"}
    return current_inventory(
        str(machine.root), str(machine.root), environment={"HOME": str(home)}, **roots
    )


def cache_file(machine: FakeHost, home: Path) -> Path:
    key = [str(machine.root), str(machine.root), [], [], "", str(machine.proc), str(machine.sys),
           "x86_64"]  # fmt: skip
    return Path(locate_cache(key, {"HOME": str(home)}))


def plant_inventory(machine: FakeHost, home: Path, text: str = "") -> Path:
    """A cache file that would be believed, if it were the caller's own."""
    path = cache_file(machine, home)
    path.parent.mkdir(parents=True)
    fresh = machine.take(nvml=False)
    document = {
        "format": cache.FORMAT,
        "key": [str(machine.root), str(machine.root), [], [], "", str(machine.proc),
                str(machine.sys), "x86_64"],
        "watched": [],
        "fingerprint": cache.take_fingerprint((), str(machine.root), str(machine.proc)),
        "inventory": fresh._replace(driver_version="666.66", libraries=()),
    }  # fmt: skip
    path.write_text(text or json.dumps(document))
    path.chmod(0o600)
    return path


def test_the_plant_of_these_tests_would_be_believed(machine: FakeHost, tmp_path: Path) -> None:
    plant_inventory(machine, tmp_path / "home")
    assert take(machine, tmp_path / "home").driver_version == "666.66"


def test_a_cache_of_another_user_is_not_believed(machine: FakeHost, tmp_path: Path) -> None:
    path = plant_inventory(machine, tmp_path / "home")
    try:
        os.chown(path, 4242, 4242)
    except PermissionError:
        pytest.skip("only root can give a file away")
    assert take(machine, tmp_path / "home").driver_version != "666.66"


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_cache_that_others_may_write_is_not_believed(
    machine: FakeHost, tmp_path: Path, mode: int
) -> None:
    plant_inventory(machine, tmp_path / "home").chmod(mode)
    assert take(machine, tmp_path / "home").driver_version != "666.66"


def test_a_link_to_a_cache_is_not_believed(machine: FakeHost, tmp_path: Path) -> None:
    path = plant_inventory(machine, tmp_path / "home")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert take(machine, tmp_path / "home").driver_version != "666.66"


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_an_odd_thing_in_its_place_is_passed_over_and_nothing_it_leads_to_is_changed(
    machine: FakeHost, tmp_path: Path, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    try:
        plant(cache_file(machine, tmp_path / "home"), kind, outside)
    except PermissionError:
        pytest.skip("device nodes cannot be made here (mknod: operation not permitted)")
    before = take_snapshot(outside)
    take(machine, tmp_path / "home")
    assert take_snapshot(outside) == before


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, "{}", "[]", "null", '"x"', '{"format": 1}', "\x00", '{"a":' * 50_000],
    ids=["lists", "{}", "[]", "null", "text", "format", "zero", "objects"],
)
def test_a_cache_that_is_a_bomb_or_nonsense_is_passed_over(
    machine: FakeHost, tmp_path: Path, text: str
) -> None:
    plant_inventory(machine, tmp_path / "home", text)
    assert take(machine, tmp_path / "home").driver_version == "580.159.04"


@pytest.mark.parametrize("inventory", [[], {}, 5, None, [[]], "x" * 20])
@pytest.mark.parametrize("watched", [[], None, [[]], ["\0"], 5])
def test_a_cache_of_the_right_frame_and_wrong_contents_is_passed_over(
    machine: FakeHost, tmp_path: Path, inventory: object, watched: object
) -> None:
    path = plant_inventory(machine, tmp_path / "home")
    document = json.loads(path.read_text()) | {"inventory": inventory, "watched": watched}
    path.write_text(json.dumps(document))
    assert take(machine, tmp_path / "home").driver_version == "580.159.04"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be trapped in another user's home")
def test_root_with_another_users_home_makes_nothing_where_his_links_lead(
    machine: FakeHost, tmp_path: Path
) -> None:
    home, system = tmp_path / "home", tmp_path / "etc"
    home.mkdir()
    system.mkdir()
    (home / ".cache").symlink_to(system)
    for path in (home, home / ".cache"):
        os.chown(path, 4242, 4242, follow_symlinks=False)
    take(machine, home)
    assert list(system.iterdir()) == []
