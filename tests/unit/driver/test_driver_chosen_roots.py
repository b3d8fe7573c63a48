"""Which directories stand for the host, by option, variable and rule."""

from pathlib import Path

import pytest

from sampan.driver.chosen_roots import HostRoots, choose_roots
from sampan.errors import UsageError


@pytest.fixture
def trees(tmp_path: Path) -> tuple[str, str]:
    """A driver container's root with ``dev``, and an unpacked package without."""
    (tmp_path / "container/dev").mkdir(parents=True)
    (tmp_path / "package/usr").mkdir(parents=True)
    return str(tmp_path / "container"), str(tmp_path / "package")


def test_this_system_is_meant_where_nothing_is_said() -> None:
    assert choose_roots(environment={}) == HostRoots("/", "/")


def test_nodes_are_looked_for_in_the_driver_root_where_it_has_any(trees: tuple[str, str]) -> None:
    container, package = trees
    assert choose_roots(container, environment={}) == HostRoots(container, container)
    assert choose_roots(package, environment={}) == HostRoots(package, "/")
    assert choose_roots(container, "/", {}) == HostRoots(container, "/")


def test_an_option_counts_more_than_the_variable_of_a_root(trees: tuple[str, str]) -> None:
    container, package = trees
    said = {"SAMPAN_DRIVER_ROOT": container, "SAMPAN_DEV_ROOT": "/"}
    assert choose_roots(environment=said) == HostRoots(container, "/")
    assert choose_roots(package, container, said) == HostRoots(package, container)


def test_a_root_that_is_not_there_is_refused_by_the_name_that_said_it(tmp_path: Path) -> None:
    for given, name in (
        (("/nowhere", ""), "--driver-root /nowhere"),
        (("", "/nowhere"), "--dev-root /nowhere"),
    ):
        with pytest.raises(UsageError, match=name):
            choose_roots(*given, environment={})
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="SAMPAN_DRIVER_ROOT"):
        choose_roots(environment={"SAMPAN_DRIVER_ROOT": str(tmp_path / "file")})
