"""Where limits and device rules go, on v1, hybrid and v2 trees that are directories here."""

from pathlib import Path

import pytest

from sampan.kernel import cgroups
from sampan.kernel.cgroups import Limits

ALL = Limits(memory_bytes=1 << 20, cpus=0.5, pids=7)


def v1(root: Path, *controllers: str) -> str:
    for controller in controllers:
        (root / controller / "job").mkdir(parents=True)
    return str(root)


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    assert cgroups.find_layout(str(tmp_path)) == "none"
    v1(tmp_path, "devices")
    assert cgroups.find_layout(str(tmp_path)) == "legacy"
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.procs").touch()
    assert cgroups.find_layout(str(tmp_path)) == "hybrid"
    (tmp_path / "cgroup.controllers").touch()
    assert cgroups.find_layout(str(tmp_path)) == "unified"


def test_membership_lists_joined_controllers_too() -> None:
    text = "4:cpu,cpuacct:/job\n1:name=systemd:/x:y\n0::/user.slice\n"
    assert cgroups.parse_membership(text) == {
        "cpu": "/job", "cpuacct": "/job", "name=systemd": "/x:y", "": "/user.slice",
    }  # fmt: skip


def test_v1_groups_lie_below_the_batch_jobs_own(tmp_path: Path) -> None:
    root = v1(tmp_path, "memory", "cpu", "pids", "devices")
    membership = {"memory": "/job", "cpu": "/elsewhere", "pids": "/"}
    plan = cgroups.plan_legacy("x", membership, ALL, ("c 1:3 rwm",), root)
    assert set(plan.directories) == {
        f"{root}/memory/job/sampan-x", f"{root}/cpu/sampan-x", f"{root}/pids/sampan-x",
        f"{root}/devices/sampan-x",
    }  # fmt: skip
    settings = [(path.removeprefix(root), text) for path, text in plan.settings]
    assert ("/memory/job/sampan-x/memory.limit_in_bytes", "1048576") in settings
    assert ("/cpu/sampan-x/cpu.cfs_quota_us", "50000") in settings
    assert ("/pids/sampan-x/pids.max", "7") in settings
    denied = settings.index(("/devices/sampan-x/devices.deny", "a"))
    assert settings[denied + 1] == ("/devices/sampan-x/devices.allow", "c 1:3 rwm")
    assert all(path.endswith("/tasks") for path in plan.entries)
    assert plan.unmet == ()


def test_a_controller_that_is_not_there_is_unmet(tmp_path: Path) -> None:
    plan = cgroups.plan_legacy("x", {}, ALL, None, v1(tmp_path, "pids"))
    assert plan.unmet == ("memory", "cpu")
    assert plan.directories == (f"{tmp_path}/pids/sampan-x",)


def test_v2_limits_go_below_the_nearest_group_that_hands_the_controllers_on(
    tmp_path: Path,
) -> None:
    for path, handed_on in (("a", "memory pids cpu"), ("a/b", "memory"), ("a/b/own", "")):
        (tmp_path / path).mkdir()
        (tmp_path / path / "cgroup.procs").touch()
        (tmp_path / path / "cgroup.subtree_control").write_text(handed_on)
    plan = cgroups.plan_unified("x", {"": "/a/b/own"}, ALL, str(tmp_path))
    assert plan.directories == (f"{tmp_path}/a/sampan-x",)
    assert (f"{tmp_path}/a/sampan-x/cpu.max", "50000 100000") in plan.settings
    assert (f"{tmp_path}/a/sampan-x/memory.max", "1048576") in plan.settings
    only_memory = cgroups.plan_unified("x", {"": "/a/b/own"}, Limits(1 << 20), str(tmp_path))
    assert only_memory.directories == (f"{tmp_path}/a/b/sampan-x",)
    nowhere = cgroups.plan_unified("x", {"": "/"}, ALL, str(tmp_path))
    assert nowhere.unmet == ("memory", "cpu", "pids")
    assert (
        cgroups.plan_unified("x", {"": "/a/b/own"}, Limits(), str(tmp_path)) == cgroups.CgroupPlan()
    )


def test_groups_are_made_written_and_removed(tmp_path: Path) -> None:
    directory = tmp_path / "group"
    plan = cgroups.CgroupPlan(
        (str(directory),),
        ((f"{directory}/absent/limit", "1"), (f"{directory}/no/memory.memsw.limit_in_bytes", "1")),
    )
    (failed,) = cgroups.make_groups(plan)
    assert "absent/limit" in failed
    cgroups.remove_groups(plan.directories)
    assert not directory.exists()
    cgroups.remove_groups(plan.directories)
    assert cgroups.make_groups(plan._replace(runtime_path="/x")) == ()
    assert not directory.exists()


@pytest.mark.parametrize("limits", [Limits(), Limits(pids=1), ALL])
def test_limits_know_their_controllers(limits: Limits) -> None:
    assert len(limits.controllers) == sum(value is not None for value in limits)


def test_the_runtimes_groups_are_known_in_every_hierarchy(tmp_path: Path) -> None:
    root = v1(tmp_path, "memory", "pids")
    assert cgroups.runtime_directories("/x", "legacy", root) == (
        f"{root}/memory/x",
        f"{root}/pids/x",
    )
    assert cgroups.runtime_directories("/x", "unified", root) == (f"{root}/x",)
    assert cgroups.runtime_directories("/x", "legacy", f"{root}/none") == ()


def test_groups_below_a_group_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "group/inner/most").mkdir(parents=True)
    cgroups.remove_groups((f"{tmp_path}/group",))
    assert list(tmp_path.iterdir()) == []
